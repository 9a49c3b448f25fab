"""Linear mode connectivity: the loss on the straight line between two networks (Frankle et al. 2020)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.data import Task
from workbench.methods.after.recalibration import recalibrate
from workbench.metrics import evaluate
from workbench.train import snapshot

if TYPE_CHECKING:
    import pandas as pd


def along(
    model: nn.Module,
    task: Task,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    places: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    split: str = "val",
    recalibrated: bool = True,
) -> "pd.DataFrame":
    """What the task measures of `(1 - t) a + t b` at each place t: a row each, with `at` and the measures.

    `a` and `b` are snapshots (`wb.snapshot`) of one network. Two of them are connected if the error nowhere on the line
    is higher than the mean of both ends; what it is higher by is the barrier. With `recalibrated`, networks with
    BatchNorm get new statistics at each place (arXiv:2211.08403). The model is untouched. Source: Frankle et al. 2020,
    arXiv:1912.05671, section 2.

    Misleads without new statistics: means of two networks' statistics are those of neither, and look like a barrier.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model, other = (wb.make("lenet-300-100", task, seed=seed) for seed in (0, 1))
    >>> along(model, task, wb.snapshot(model), wb.snapshot(other), [0, 0.5, 1])["at"].tolist()
    [0.0, 0.5, 1.0]
    """
    import pandas as pd

    own = snapshot(model)
    if told := [
        f"{n} {tuple(v.shape)}" for n, v in own.items() if {x[n].shape if n in x else None for x in (a, b)} != {v.shape}
    ]:
        raise ValueError(f"both ends of a line are snapshots of this model; what differs: {', '.join(told[:5])}")
    norms = any(name.endswith("running_mean") for name in own)
    rows = []
    try:
        for t in places:
            model.load_state_dict(
                {n: torch.lerp(a[n], b[n], float(t)) if v.is_floating_point() else a[n] for n, v in own.items()}
            )
            if norms and recalibrated:
                recalibrate(model, task)
            rows.append({"at": float(t), **evaluate(model, task, split=split)})
    finally:
        model.load_state_dict(own)
    return pd.DataFrame(rows)
