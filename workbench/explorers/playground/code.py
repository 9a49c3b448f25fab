"""The lines of Python that reproduce a view of the playground."""

from __future__ import annotations

from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.session import SCORED, Session


def lines(session: Session, choices: Choices) -> str:
    """Code that ends with the masks and the layer table of the view, bit for bit, for each criterion shown."""
    task = session.task(choices.data)
    own_data = choices.data in session.own_data
    own_network = choices.network in session.own_networks
    said = [
        "import torch",
        "",
        "import workbench as wb",
        "",
        "torch.set_num_threads(1)  # the playground's sums, bit for bit",
        "# task: your own, as you passed it to the playground" if own_data else f"task = wb.load({choices.data!r})",
        "# model: your own, as you passed it to the playground"
        if own_network
        else f"model = wb.make({choices.network!r}, task, seed={choices.seed})",
    ]
    if choices.weights == "trained":
        said.append(f"wb.train(model, task, seed={choices.seed})")
    said.append(f"batch = task.batch({min(SCORED, task.size('train'))}, seed={choices.seed})")
    for name in choices.criteria:
        said += ["", *_masks(choices, name), "wb.layers(model, masks, batch.inputs[:1])"]
    return "\n".join(said) + "\n"


def _masks(choices: Choices, name: str) -> list[str]:
    sparsity = f"sparsity=1 - 1 / {choices.compression!r}, allocation={choices.allocation!r}"
    if choices.rounds == 1:
        return [
            f"scores = wb.score(model, batch, {name!r}, seed={choices.seed})",
            f"masks = wb.keep_top(scores, {sparsity})",
        ]
    return [
        "masks = wb.find_masks(",
        f"    model, batch, {name!r}, {sparsity}, rounds={choices.rounds}, seed={choices.seed}",
        ")",
    ]
