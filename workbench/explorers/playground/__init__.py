"""The playground: choose what is pruned and how, see scores, layers, mask and trade-off at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from workbench.data import Task, load
from workbench.explorers.faces import face
from workbench.extras import check_lab

if TYPE_CHECKING:
    import pandas as pd


def playground(
    task: str | Task = "digits",
    model: str | nn.Module | None = None,
    state: Mapping[str, Any] | None = None,
    *,
    criteria: Sequence[str] | None = None,
    rows: pd.DataFrame | Iterable[Mapping[str, Any]] | None = None,
    precompute: bool = False,
    name: str | None = None,
) -> Any:
    """A playground of pruning: choose what is pruned and how, see scores, layers, mask and trade-off at once.

    `task` and `model` are names, or a Task and an nn.Module of your own (default: `vgg`, or the first network that
    fits). `state` is a setting as `state()` gives it, keys may be missing; its data and network win over `task` and
    `model`. Its `timing` is when to prune; a state with a `step` of the training is trained first. Its `compare` is a
    pinned setting: what differs, such as `{"criterion": "snip", "rounds": 5}`. `criteria` narrows the menu (default:
    all, those registered with `wb.register_criterion` too). `rows` are recorded points of the trade-off, in place of
    the shipped ones (`[]`: none): compression and accuracy (or what the task measures first), whatever else of a
    setting differs from the one shown, and, so that it can be told, `split` ("val" or "test"). The shipped ones are all
    recorded runs that do what Train does; they are measured on test data, live points on validation data.
    `precompute=True` computes the frames of every stop ahead, so that the slider answers in the browser. Running the
    cell again closes the explorer it made before; `name` does the same across cells. Raises ValueError for what does
    not exist or does not fit.

    The face is chosen by WORKBENCH_FACE: a live widget, a picture with text, or a page that needs no kernel. All three
    carry the same numbers as `application/vnd.workbench.numbers+json`.

    Misleads when one seed of one batch is taken for the criterion: press Train several times, each is a new seed.

    >>> import os
    >>> os.environ["WORKBENCH_FACE"] = "picture"
    >>> print(playground(model="lenet-300-100", state={"compression": 20}).sentence.split("; effective")[0])
    95.0 % removed, 20x; all 3 layers alive
    >>> del os.environ["WORKBENCH_FACE"]
    """
    import pandas as pd

    from workbench.explorers.playground.choices import Choices, check_state
    from workbench.explorers.playground.session import Session

    shown = face()
    session = Session(
        {task.name: task} if isinstance(task, Task) else {task: load(task)},
        {own_name(model): model} if isinstance(model, nn.Module) else {},
        criteria,
    )
    fitting = session.fitting(session.home)
    default = "vgg" if "vgg" in fitting else fitting[0]
    network = own_name(model) if isinstance(model, nn.Module) else model or default
    start = Choices(data=session.home, network=network, criterion=criteria[0] if criteria else "magnitude")
    choices = session.check(check_state({} if state is None else state, start))
    table: Any = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    session.record(table, choices)
    if shown == "live":
        check_lab("anywidget", "traitlets", "IPython")
        from workbench.explorers.playground.live import Playground

        return Playground(session, choices, precompute, name)
    from workbench.explorers.playground.still import show

    return show(session, choices, shown)


def own_name(model: nn.Module) -> str:
    """What a network of the user's own is called in the menu."""
    return f"my {getattr(model, 'network', '') or type(model).__name__}"
