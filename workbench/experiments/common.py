"""What the topics share: their seeds and networks, how a run begins, and how rows are chosen."""

from typing import Any

from torch import nn

from workbench.criteria.registry import entries
from workbench.data import Task, load
from workbench.experiments.registry import Effects, Rows
from workbench.metrics import collapsed, sparsity
from workbench.models import make, prunable
from workbench.types import Batch, Masks

SEEDS = [0, 1, 2, 3, 4]
NETWORKS = ["lenet-300-100", "vgg"]
BOTH = ["running", "batch"]  # BatchNorm's statistics
PUBLISHED: list[dict[str, list[Any]]] = [  # as the authors score
    {"criterion": ["magnitude"]},
    {"criterion": ["snip"], "bn": ["running"]},
    {"criterion": ["grasp"], "bn": ["batch"]},
    {"criterion": ["synflow"], "rounds": [100]},
]


def start(data: str, network: str, seed: int, width: float = 1.0, device: str = "cpu") -> tuple[Task, nn.Module, Batch]:
    """The data, a network as `seed` initialises it, and 10 samples a class for a criterion to see."""
    task = load(data, device=device)
    return task, make(network, task, seed, width), task.batch(per_class=10, seed=seed)


def size(masks: Masks) -> dict[str, float]:
    """Kept weights, sparsity and the number of layers without a weight."""
    kept = sum(int(m.sum()) for m in masks.values())
    return {"kept": kept, "sparsity": sparsity(masks), "dead": len(collapsed(masks))}


def last_weight(model: nn.Module) -> list[str]:
    """The weight of the last layer, whose channels are the classes: a cut of channels leaves it out."""
    return list(prunable(model))[-1:]


def chosen(rows: Rows, **settings: Any) -> Rows:
    """The rows with these settings: each a value, a list of values, or None for a row that names none.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"bn": ["batch", None, "running"], "seed": [0, 1, 2]})
    >>> chosen(df, bn=[None, "batch"])["seed"].tolist()
    [0, 1]
    """
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        rows = rows[rows[name].isin(values) | (rows[name].isna() & (None in values))]
    return rows


def metric(rows: Rows, name: str, each: str | None = None, **settings: Any) -> Effects:
    """A metric at each seed, for each of some settings.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"area": [1.0, 2.0], "network": ["vgg", "lenet"]}, index=pd.Index([0, 0], name="seed"))
    >>> metric(df, "area", each="network").to_dict("records")
    [{'lenet': 2.0, 'vgg': 1.0}]
    """
    rows = chosen(rows, **settings)
    return rows.pivot(columns=each, values=name) if each else rows[name]


def gap(
    rows: Rows, arm: str, a: Any, b: Any, each: str | None = None, over: str | None = None, **settings: Any
) -> Effects:
    """Accuracy of arm a minus that of arm b at each seed: for each of some settings, or its mean over some.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"accuracy": [0.5, 0.25], "criterion": ["l1", "l2"]}, index=pd.Index([0, 0], name="seed"))
    >>> gap(df, "criterion", "l1", "l2").tolist()
    [0.25]
    """
    found = chosen(rows, **settings).pivot(columns=[arm, *filter(None, [each, over])], values="accuracy")
    return (found[a] - found[b]).mean(axis=1) if over else found[a] - found[b]


def authors(rows: Rows) -> Rows:
    """The rows under the BatchNorm statistics of each criterion's authors; others name no statistics."""
    own = rows["criterion"].map({name: e.bn for (name, granularity), e in entries().items() if granularity == "weight"})
    return rows[rows["bn"].isna() | (rows["bn"] == own)]
