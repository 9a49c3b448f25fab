"""Texts name only what is there: notebooks, names of the package, commands, files, and how many of a thing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench as wb
from workbench.allocation import allocations
from workbench.explorers.playground.session import Session

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [path for path in ROOT.glob("*.md") if path.stem != "CHANGELOG"]  # which also names what is gone
TEXTS += [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), ROOT / "data" / "claims.yaml"]
TEXTS += [path for path in ROOT.rglob("workbench/**/*") if path.suffix in (".py", ".html", ".js")]
STEMS = {path.stem for path in ROOT.glob("notebooks/*.ipynb")}
TASKS = set((ROOT / "Makefile").read_text().partition("TASKS = ")[2].splitlines()[0].split())
COMMANDS = re.findall(r'add_parser\(\s*"([\w-]+)"', (ROOT / "workbench" / "cli.py").read_text(encoding="utf-8"))
FOLDERS = "benchmarks|data|docs|notebooks|tests|tools|workbench"
WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"]
NUMBER = rf"({'|'.join(WORDS)}|\d+)"
OFFER = Session({"digits": wb.load("digits", device="cpu")}, {})  # of a playground
COUNTS = {
    "criteria": len(wb.criteria(model=wb.make("vgg", OFFER.tasks["digits"]))),
    "networks": len(OFFER.fitting("digits")),
    "allocations": len(allocations()),
    "data sets": len(OFFER.data),
    "pictures": 4,  # scores, layers, mask, trade-off
}


def known(name: str) -> bool:
    """Whether `wb.a.b` is there; what is not a module or class is not looked into."""
    found: object = wb
    for part in name.split("."):
        if found is not wb and not isinstance(found, type) and type(found).__name__ != "module":
            return True
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def missing(text: str) -> Iterator[str]:
    """What a text names that is not there."""
    numbers = {stem.split("-")[0] for stem in STEMS}
    for words in re.findall(r"\bnotebooks? ((?:\d\d[a-z]?\b(?:, | and | or )?)+)", text, re.IGNORECASE):
        yield from (f"notebook {number}" for number in re.findall(r"\d\d[a-z]?", words) if number not in numbers)
    for stem in re.findall(r"(?:[`(]|notebooks/)(\d\d[a-z]?-[a-z][a-z-]*[a-z])(?=[`.])", text):
        yield from () if stem in STEMS else [f"notebook {stem}"]
    for turn in re.findall(r"\b(?:next|previous|last) (?:notebook|cell but \w+)\b", text, re.IGNORECASE):
        yield f"{turn}: name it"
    for name in re.findall(r"\bwb\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", text):
        yield from () if known(name) else [f"wb.{name}"]
    for task in re.findall(r"`make ([a-z]+)", text):
        yield from () if task in TASKS else [f"make {task}"]
    for command, words in re.findall(r"`workbench ([a-z][a-z-]*)((?: [^`\s]+)*)", text):
        yield from () if command in COMMANDS else [f"workbench {command}"]
        if (
            command == "evidence"
            and words
            and words[1] != "-"
            and words.split()[0] not in {*wb.experiments.EXPERIMENTS, "NAME"}
        ):
            yield f"experiment {words.split()[0]}"
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text):
        made_up = re.search(r"NAME|NN|_shipped", path)
        yield from () if made_up or (ROOT / path).exists() else [path]
    things = "|".join(COUNTS)
    for count, thing in [
        *re.findall(rf"playground's {NUMBER} ({things})", text, re.IGNORECASE),
        *re.findall(rf"\b{NUMBER} ({things}) (?:of|in) the playground", text, re.IGNORECASE),
    ]:
        number = WORDS.index(count.lower()) + 2 if count.lower() in WORDS else int(count)
        yield from () if number == COUNTS[thing.lower()] else [f"{count} {thing}; there are {COUNTS[thing.lower()]}"]


@pytest.mark.parametrize("path", sorted(TEXTS), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_text_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    assert list(missing(re.sub(r"\s+", " ", text))) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("as notebooks 01 and 99 show", ["notebook 99"]),
        ("Next: `02-rewinding`.", ["notebook 02-rewinding"]),
        ("see [02](02-rewinding.ipynb)", ["notebook 02-rewinding"]),
        ("the next notebook (02) and the next cell but two", ["next notebook: name it", "next cell but two: name it"]),
        ("call `wb.prune(model)` or `wb.plots.pie(rows)`, not wb.load", ["wb.prune", "wb.plots.pie"]),
        ("`make coffee`, `make test`", ["make coffee"]),
        ("`workbench watch`, `workbench evidence headlines`", ["workbench watch", "experiment headlines"]),
        ("`workbench/plots/pies.py` and `data/rows/NAME.jsonl`", ["workbench/plots/pies.py"]),
        ("the playground's five criteria; the four pictures of the playground", ["five criteria; there are"]),
    ],
)
def test_what_is_not_there_is_found(words: str, found: list[str]) -> None:
    told = list(missing(words))
    assert len(told) == len(found)
    assert all(one.startswith(part) for one, part in zip(told, found, strict=True))
