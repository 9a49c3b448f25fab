"""The lines of Python that reproduce a view of the playground."""

from torch.nn import functional

from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.scored import SCORED
from workbench.explorers.playground.session import Session


def lines(session: Session, choices: Choices) -> str:
    """Code that ends with the masks and the layer table of the view, bit for bit; of two settings one after another.

    Untrained weights go first, as training changes the model.
    """
    task, seed = session.task(choices.data), f"seed={choices.seed}"
    own = "# {}: your own, as you passed it to the playground"
    task_line, model_line = f"task = wb.load({choices.data!r})", f"model = wb.make({choices.network!r}, task, {seed})"
    said = [
        *("import torch", "", "import workbench as wb", ""),
        "torch.set_num_threads(1)  # the playground's sums, bit for bit",
        own.format("task") if choices.data in session.own_data else task_line,
        own.format("model") + ", on task.device" if choices.network in session.own_networks else model_line,
        f"batch = task.batch({min(SCORED, task.size('train'))}, {seed})",
    ]
    knobs = seed if task.loss is functional.cross_entropy else f"{seed}, loss_fn=task.loss"
    weights = "at init"
    for side in sorted(choices.sides, key=lambda side: side.weights):
        how = f"sparsity=1 - 1 / {side.compression!r}, allocation={side.allocation!r}"
        said += ["", *([f"# {side.name}"] if len(choices.sides) > 1 else ())]
        if side.weights != weights:
            said += [f"wb.train(model, task, {seed})"]
            weights = side.weights
        if side.rounds == 1:
            found = [
                f"scores = wb.score(model, batch, {side.criterion!r}, {knobs})",
                f"masks = wb.keep_top(scores, {how})",
            ]
        else:
            call = f"    model, batch, {side.criterion!r}, {how}, rounds={side.rounds}, {knobs}"
            found = ["masks = wb.find_masks(", call, ")"]
        said += [*found, "wb.layers(model, masks, batch.inputs[:1])"]
    return "\n".join(said) + "\n"
