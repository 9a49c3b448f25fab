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
    recorded = session.films.recorded(choices)
    for side in choices.sides:
        said += ["", *([f"# {side.name}"] if len(choices.sides) > 1 else ())]
        said += [own.format("model") + ", on task.device" if side.network in session.own_networks else model_line]
        train = not side.cut or (recorded and side.step != 0)
        said += _trained(session, side, recorded) if train else _found(session, side)
        said += ["wb.layers(model, masks, batch.inputs[:1])"]
    return "\n".join(said) + "\n"


def _found(session: Session, side: Choices) -> list[str]:
    """Lines from `model` to masks that are found at one moment."""
    seed, how = f"seed={side.seed}", f"sparsity=1 - 1 / {side.compression!r}, allocation={side.allocation!r}"
    knobs = seed if session.task(side.data).loss is functional.cross_entropy else f"{seed}, loss_fn=task.loss"
    stop = f", stop={session.k(side)}" if side.timing == "early" else ""
    said = [] if side.timing == "before" else [f"wb.train(model, task{stop}, {seed})"]
    if side.rounds == 1 and side.granularity == "weight":
        scores = f"scores = wb.score(model, batch, {side.criterion!r}, {knobs})"
        return [*said, scores, f"masks = wb.keep_top(scores, {how})"]
    more = [f"    {name}={value!r}," for name, value in session.cut_of(side).items()]
    call = f"    model, batch, {side.criterion!r}, {how}, rounds={side.rounds}, {knobs},"
    return [*said, f"masks = {'wb.dense(model) | ' if more else ''}wb.find_masks(", call, *more, ")"]


def _trained(session: Session, side: Choices, recorded: bool) -> list[str]:
    """Lines from `model` to masks after a training, or at the step shown."""
    how = [f"{option}={value!r}" for option, value in (session.how(side) | {"seed": side.seed}).items()]
    rows = f"rows = wb.timing({side.timing!r}, model, task, 1 - 1 / {side.compression!r}, **how)"
    train = f"for _, row in zip(range({side.step}), rows):" if recorded and side.step else "for row in rows:"
    return [f"how = dict({', '.join(how)})", rows, train, "    pass", "masks = wb.dense(model) | row.masks"]
