"""Imports go downward only: a module of the package imports from the rooms above it in the list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
ROOMS = [
    "stopping",
    "extras",
    "types",
    "registry",
    "files",
    "profiles",
    "seeds",
    "project_data",
    "templates",
    "data",
    "models",
    "granularity",
    "criteria",
    "allocation",
    "masks",
    "metrics",
    "recipes",
    "states",
    "removal",
    "train",
    "together",
    "recording",
    "methods",
    "sweeps",
    "intervals",
    "claims",
    "experiments",
    "exercises",
    "plots",
    "reports",
    "explorers",
    "headless",
    "cli",
]


def room(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported(path: Path, package: Path) -> Iterator[str]:
    """The rooms that a file imports anywhere, functions included; "" for the package itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(package.parent).parent.parts
            base = (
                [*above[: len(above) - node.level + 1], *filter(None, [node.module])] if node.level else [node.module]
            )
            module = ".".join(base)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == package.name else [module]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == package.name:
                yield rest[0] if rest else ""


def violations(package: Path) -> list[str]:
    """One line for each import that goes sideways or up, or that names no room."""
    found = []
    for path in sorted(package.rglob("*.py")):
        here = room(path, package)
        if here == "__init__":
            continue
        if here not in ROOMS:
            found.append(f"{here} has no place among the rooms")
            continue
        for there in imported(path, package):
            if there != here and there not in ROOMS[: ROOMS.index(here)]:
                found.append(f"{path.relative_to(package)} imports {there or 'the whole package'}")
    return found


def test_imports_go_downward():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        ("masks.py", "from workbench.train import steps", "masks.py imports train"),
        ("masks.py", "def late():\n    import workbench.train", "masks.py imports train"),
        ("criteria/snip.py", "from workbench import masks", "criteria/snip.py imports masks"),
        ("criteria/snip.py", "from ..masks import keep_top", "criteria/snip.py imports masks"),
        ("metrics/size.py", "import workbench as wb", "metrics/size.py imports the whole package"),
        ("helpers.py", "", "helpers has no place among the rooms"),
    ],
)
def test_an_upward_import_is_seen(tmp_path, path, line, complaint):
    planted = tmp_path / "workbench" / path
    planted.parent.mkdir(parents=True)
    planted.write_text(line)
    assert violations(tmp_path / "workbench") == [complaint]


def test_a_downward_import_is_none(tmp_path):
    planted = tmp_path / "workbench" / "criteria" / "snip.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(
        "from workbench.types import Scores\nfrom . import registry\nfrom .passes import gradients\nimport torch"
    )
    assert violations(tmp_path / "workbench") == []
