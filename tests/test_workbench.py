"""The names of the package: what `dir` shows, and what imports by dotted names find."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb

ROOT = Path(wb.__file__).parent
PATHS = [path.relative_to(ROOT.parent).with_suffix("") for path in ROOT.rglob("*.py") if path.name[0] != "_"]
MODULES = sorted(".".join(path.parts) for path in PATHS)


def test_dir_shows_all_public_names_before_they_are_used() -> None:
    code = "import sys, workbench as wb; print(set(wb.__all__) - set(dir(wb)), 'workbench.plots' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() False"
    assert all(hasattr(wb, name) for name in dir(wb))


@pytest.mark.parametrize("name", MODULES)
def test_an_import_by_its_dotted_name_finds_what_a_module_holds(name: str) -> None:
    space: dict[str, object] = {}
    exec(f"import {name}\nimport {name} as short\nfull = {name}", space)
    module = importlib.import_module(name)
    assert space["full"] is space["short"]
    assert space["full"] is (wb.train if name == "workbench.train" else module)
    assert all(getattr(space["full"], held) is value for held, value in vars(module).items() if held[0] != "_")


def test_the_room_of_the_criteria_is_found_under_the_function_of_its_name() -> None:
    assert "snip" in wb.criteria()
    import workbench.criteria as room

    assert room.score is wb.score
