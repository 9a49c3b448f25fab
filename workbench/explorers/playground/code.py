"""The lines of Python that reproduce a view of the playground."""

from torch.nn import functional

from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.scored import SCORED
from workbench.explorers.playground.session import Session
from workbench.methods.registry import METHODS


def lines(session: Session, choices: Choices) -> str:
    """Code that ends with the masks and the layer table of the view, bit for bit; of two settings one after another."""
    task, seed = session.task(choices.data), f"seed={choices.seed}"
    own = "# {}: your own, as you passed it to the playground"
    task_line, model_line = f"task = wb.load({choices.data!r})", f"model = wb.make({choices.network!r}, task, {seed})"
    said = [
        *("import torch", "", "import workbench as wb", ""),
        "torch.set_num_threads(1)  # the playground's sums, bit for bit",
        own.format("task") if choices.data in session.own_data else task_line,
        f"batch = task.batch({min(SCORED, task.size('train'))}, {seed})",
    ]
    for side in choices.sides:
        said += ["", *([f"# {side.name}"] if len(choices.sides) > 1 else ())]
        said += [own.format("model") + ", on task.device" if side.network in session.own_networks else model_line]
        said += [*_masks(session, side), "wb.layers(model, masks, batch.inputs[:1])"]
    return "\n".join(said) + "\n"


def _masks(session: Session, side: Choices) -> list[str]:
    """Lines from `model` to `masks`."""
    seed = f"seed={side.seed}"
    sparsity, allocation = f"1 - 1 / {side.compression!r}", f"allocation={side.allocation!r}"
    if not side.cut or (session.recorded(side) and side.step != 0):
        return _trained(session, side, f"task, {sparsity}", f"{allocation}, {seed}")
    knobs = seed if session.task(side.data).loss is functional.cross_entropy else f"{seed}, loss_fn=task.loss"
    stop = f", stop={session.k(side)}" if side.timing == "early" else ""
    said = [] if side.timing == "before" else [f"list(wb.steps(model, task{stop}, {seed}))"]
    if side.rounds == 1:
        scores = f"scores = wb.score(model, batch, {side.criterion!r}, {knobs})"
        return [*said, scores, f"masks = wb.keep_top(scores, sparsity={sparsity}, {allocation})"]
    call = f"    model, batch, {side.criterion!r}, sparsity={sparsity}, {allocation}, rounds={side.rounds}, {knobs}"
    return [*said, "masks = wb.find_masks(", call, ")"]


def _trained(session: Session, side: Choices, what: str, how: str) -> list[str]:
    """Lines that train: to the step shown, or to the end."""
    if side.timing not in METHODS:
        how = f"criterion={side.criterion!r}, rounds={side.rounds}, {how}"
    if side.timing in ("early", "rewound"):
        how = f"k={session.k(side)}, {how}"
    rows = [f"rows = wb.timing({side.timing!r}, model, {what}, {how})"]
    if side.step is None or not session.recorded(side):
        return [*rows, "*_, row = rows  # to the end of the training", "masks = row.masks"]
    return [*rows, f"masks = next(row.masks for at, row in enumerate(rows, 1) if at == {side.step})"]
