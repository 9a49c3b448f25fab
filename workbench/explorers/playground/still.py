"""The playground's faces without a kernel: a picture with text, and a page that answers in the browser."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from workbench import plots
from workbench.explorers import page
from workbench.explorers.playground import ahead, picture
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.session import Session
from workbench.explorers.playground.view import numbers
from workbench.explorers.worker import drain

SCRIPTS = ("kit", "pen", "charts", "explorer", "playground")
STYLES = ("kit", "playground")


def show(session: Session, choices: Choices, face: str) -> page.Still:
    """The view as figure and text; under the face "site" also as a page with pictures made `ahead`."""
    choices, frame = settle(session, choices)
    bundle = pictured(session, choices, frame)
    said = bundle["text/plain"]
    if face == "site":
        html = page.element(_traits(session, choices, frame), said, page.module(*SCRIPTS), page.style(*STYLES))
        bundle = {"text/html": html, "image/png": bundle["image/png"], "text/plain": said}
    sentence = "\n".join(side["sentence"] for side in frame["sides"])
    return page.Still(sentence, choices.state(), frame, bundle, numbers(choices.state(), frame))


def pictured(session: Session, choices: Choices, frame: Mapping[str, Any]) -> dict[str, Any]:
    """The view as HTML, PNG and words."""
    said = summary(choices, frame) + "\n" + session.points.sentence(choices)
    sentences = [f"{side['name']}: {side['sentence']}" for side in frame["sides"]]
    caption = f"{_made_with(choices)}. {' and '.join(sentences)}."
    return plots.bundle(picture.figure(session, choices, frame), alt=said, caption=caption)


def _made_with(choices: Choices) -> str:
    """What the settings shown are made with, beside what their names say."""
    ways = [(side.timing, side.granularity, f"{side.allocation} allocation") for side in choices.sides]
    whens, units, allocations = (" and ".join(dict.fromkeys(words)) for words in zip(*ways, strict=True))
    units = "" if units == "weight" else f"granularity {units}, "
    return f"{choices.network} on {choices.data}, timing {whens}, {units}{allocations}, seed {choices.seed}"


def settle(session: Session, choices: Choices) -> tuple[Choices, dict[str, Any]]:
    """Do all the work of a view here and now: the choices with their layer, and the frame."""
    fitted = drain(session.prepare(choices))
    if fitted.step:  # a step is that of a training
        for side in fitted.sides:
            _, *reached = drain(session.train(side, side.seed, lambda what, progress: None))
            session.points.add(side, *reached)
        fitted = drain(session.prepare(fitted))
    return fitted, session.frame(fitted, measure=True)


def _traits(session: Session, choices: Choices, frame: Mapping[str, Any]) -> dict[str, Any]:
    first, *pinned = choices.sides
    choices = replace(choices, **first.way, compare=pinned[0].way if pinned else None, request=0)
    shown = session.points.curve(choices)  # and what the page shows if weights are chosen
    weights = session.points.curve(replace(first, granularity="weight"))
    return {
        "menu": session.menu(choices, face="site"),
        "choices": asdict(choices),
        "frame": frame,
        "frames": {"settings": ahead.settings(session, choices)},
        "runs": session.films.page(choices),
        "curve": [*shown, *(point for point in weights if point not in shown)],
        "baseline": session.points.baseline(choices),
    }


def summary(choices: Choices, frame: Mapping[str, Any]) -> str:
    """The view in words and as a table of layers."""
    lines = [f"Pruning playground: {_made_with(choices)}."]
    for side in frame["sides"]:
        width = max(len(layer["name"]) for layer in side["layers"])
        lines += [f"{side['name']}: {side['sentence']}.", *([f"Alarm: {side['alarm']}."] if side["alarm"] else [])]
        lines += [f"{'layer':<{width}}  {'weights':>10}  {'kept':>10}  density"]
        row = f"{{name:<{width}}}  {{size:>10,}}  {{kept:>10,}}  {{density:.4g}}"
        lines += [row.format(**layer) for layer in side["layers"]]
    return "\n".join(lines)
