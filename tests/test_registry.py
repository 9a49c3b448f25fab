"""One way to find things by name; and no file that registers something is forgotten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import workbench
from workbench.criteria.registry import CRITERIA
from workbench.data.registry import SOURCES
from workbench.models.registry import NETWORKS
from workbench.registry import Registry


@pytest.fixture
def shapes() -> Registry[int]:
    found: Registry[int] = Registry("shape")
    found.add("triangle", 3)
    found.add("square", 4)
    return found


def test_names_come_in_order_with_their_entries(shapes: Registry[int]) -> None:
    assert dict(shapes) == {"square": 4, "triangle": 3}
    assert list(shapes) == ["square", "triangle"]
    assert "square" in shapes
    assert "circle" not in shapes
    assert len(shapes) == 2


def test_ours_stay_and_the_user_s_are_replaced_and_removed(shapes: Registry[int]) -> None:
    shapes.add("mine", 5, own=True)
    shapes.add("mine", 6, own=True)
    assert shapes.own() == {"mine": 6}
    with pytest.raises(ValueError, match=r"'square' is the workbench's own shape and stays as it is. Choose another"):
        shapes.add("square", 5, own=True)
    with pytest.raises(ValueError, match=r"shape is one of mine; got 'square'"):
        shapes.remove("square")
    shapes.remove("mine")
    assert shapes.own() == {}
    assert dict(shapes) == {"square": 4, "triangle": 3}


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_name_is_a_string(name: object, shapes: Registry[int]) -> None:
    with pytest.raises(TypeError, match=r"the shape's name is a non-empty string; got .* Pass one such as"):
        shapes.add(name, 5)  # type: ignore[arg-type]


def test_a_wrong_name_is_told_with_the_nearest(shapes: Registry[int]) -> None:
    with pytest.raises(ValueError, match=r"shape is one of square, triangle; got 'sqare'. Did you mean 'square'\?"):
        shapes["sqare"]


def registering(room: Path, mark: str) -> set[str]:
    """The files of a room that call `mark`, such as `@criterion(...)`."""
    found = set()
    for path in set(room.glob("*.py")) - {room / "registry.py"}:
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        if any(ast.unparse(call.func) == mark for call in calls):
            found.add(path.stem)
    return found


def imported(room: Path) -> set[str]:
    """The files that the room itself imports by `from workbench.ROOM import ...`."""
    lines = ast.parse((room / "__init__.py").read_text(encoding="utf-8")).body
    from_here = (n for n in lines if isinstance(n, ast.ImportFrom) and n.module == f"workbench.{room.name}")
    return {alias.name for line in from_here for alias in line.names}


@pytest.mark.parametrize(("room", "mark"), [("models", "network"), ("data", "source")])
def test_no_file_is_forgotten(room: str, mark: str) -> None:
    folder = Path(workbench.__file__).parent / room
    files = registering(folder, mark)
    assert len(files) >= 3
    assert files - imported(folder) == set(), f"add them to the imports of workbench/{room}/__init__.py"


def test_no_criterion_is_forgotten() -> None:
    found = {entry.function.__module__.rpartition(".")[2] for own in CRITERIA.values() for entry in own.values()}
    files = registering(Path(workbench.__file__).parent / "criteria", "criterion")
    assert len(files) >= 3
    assert files <= found


def test_all_three_are_the_same_kind() -> None:
    assert {type(known) for known in (NETWORKS, SOURCES, *CRITERIA.values())} == {Registry}
