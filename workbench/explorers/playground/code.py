"""The lines of Python that reproduce a view of the playground."""

from torch.nn import functional

from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.scored import SCORED
from workbench.explorers.playground.session import Session


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
    knobs = seed if session.task(side.data).loss is functional.cross_entropy else f"{seed}, loss_fn=task.loss"
    how = f"sparsity=1 - 1 / {side.compression!r}, allocation={side.allocation!r}"
    said = [f"wb.train(model, task, {seed})"] if side.timing == "after" else []
    if side.rounds == 1:
        scores = f"scores = wb.score(model, batch, {side.criterion!r}, {knobs})"
        return [*said, scores, f"masks = wb.keep_top(scores, {how})"]
    call = f"    model, batch, {side.criterion!r}, {how}, rounds={side.rounds}, {knobs}"
    return [*said, "masks = wb.find_masks(", call, ")"]
