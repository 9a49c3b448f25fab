"""nbval, which tests notebooks in the live face, does catch what is planted."""

import re
import subprocess
import sys

import pytest
from notebook_maker import FAILING_WIDGET, code, make


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Name of a notebook -> whether all of its cells passed, under the options that this project's tests use."""
    folder = tmp_path_factory.mktemp("nbval")
    make(folder / "failing_widget.ipynb", FAILING_WIDGET)
    make(folder / "sound_widget.ipynb", FAILING_WIDGET.replace("raise RuntimeError", "print"))
    make(folder / "wrong_tagged.ipynb", code("print(1)", "nbval-check-output", outputs=["2\n"]))
    make(folder / "right_tagged.ipynb", code("print(1)", "nbval-check-output", outputs=["1\n"]))
    make(folder / "untagged.ipynb", code("print(1)", outputs=["2\n"]))
    make(folder / "failing_cell.ipynb", "1 / 0")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-current-env",
        ".",
    ]
    text = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    found = {}
    for name, result in re.findall(r"^(\w+)\S*::Cell \d+ (PASSED|FAILED)", text, flags=re.MULTILINE):
        found[name] = found.get(name, True) and result == "PASSED"
    return found


def test_planted_failures_are_caught_and_nothing_else(outcome):
    assert outcome == {
        "failing_widget": False,
        "sound_widget": True,
        "wrong_tagged": False,
        "right_tagged": True,
        "untagged": True,
        "failing_cell": False,
    }
