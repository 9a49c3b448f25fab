"""The lines of Python that reproduce a view of the playground."""

from torch.nn import functional

from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.scored import SCORED
from workbench.explorers.playground.session import Session


def lines(session: Session, choices: Choices) -> str:
    """Code that ends with the masks and the layer table of the view, bit for bit, for each criterion shown."""
    task, seed = session.task(choices.data), f"seed={choices.seed}"
    own = "# {}: your own, as you passed it to the playground"
    task_line, model_line = f"task = wb.load({choices.data!r})", f"model = wb.make({choices.network!r}, task, {seed})"
    said = [
        *("import torch", "", "import workbench as wb", ""),
        "torch.set_num_threads(1)  # the playground's sums, bit for bit",
        own.format("task") if choices.data in session.own_data else task_line,
        own.format("model") + ", on task.device" if choices.network in session.own_networks else model_line,
        *([f"wb.train(model, task, {seed})"] if choices.weights == "trained" else ()),
        f"batch = task.batch({min(SCORED, task.size('train'))}, {seed})",
    ]
    how = f"sparsity=1 - 1 / {choices.compression!r}, allocation={choices.allocation!r}"
    knobs = seed if task.loss is functional.cross_entropy else f"{seed}, loss_fn=task.loss"
    for name in choices.criteria:
        if choices.rounds == 1:
            found = [f"scores = wb.score(model, batch, {name!r}, {knobs})", f"masks = wb.keep_top(scores, {how})"]
        else:
            call = f"    model, batch, {name!r}, {how}, rounds={choices.rounds}, {knobs}"
            found = ["masks = wb.find_masks(", call, ")"]
        said += ["", *found, "wb.layers(model, masks, batch.inputs[:1])"]
    return "\n".join(said) + "\n"
