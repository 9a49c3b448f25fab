"""Self-checks take a right answer in any type, know a wrong one, and stop headless runs alone."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.exercises import WrongAnswer, check

NET = torch.nn.Parameter(torch.tensor([2.0, 3.0]))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (20, 20.0),
        (torch.tensor(20.0), 20.0),
        (torch.tensor([20]), 20.0),
        (np.float32(20), 20.0),
        (np.int64(20), 20.0),
        (np.array([[20.0]]), 20),
        (Fraction(20), 20.0),
        (Decimal("20.00"), 20.0),
        (pd.Series([20]), 20.0),
        (20.0, torch.tensor(20.0)),
        (math.inf, np.inf),
        ((2, 3), [2.0, 3.0]),
        (np.array([2, 3]), [2, 3]),
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]]),
        ([torch.tensor(2.0), Fraction(3)], (2, 3)),
        (range(3), [0, 1, 2]),
        (NET, [2, 3]),
        (NET.sum(), 5),
        (pd.Series([2, 3], index=["a", "b"]), [2, 3]),
        (pd.Series([2, 3], index=["a", "b"]), {"a": 2, "b": 3}),
        ({"a": np.int64(2), "b": torch.tensor(3)}, {"b": 3, "a": 2}),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1.0, 2.0]})),
        (np.bool_(True), True),
        (torch.tensor(False), False),
        ("global", np.str_("global")),
        ({"a", "b"}, {"b", "a"}),
        ([[True, False], [False, False]], [[1, 0], [0, 0]]),
        (torch.eye(2).bool(), [[1, 0], [0, 1]]),
        ([np.bool_(True), False], torch.tensor([1, 0])),
    ],
)
def test_a_right_answer_is_right_in_any_type(
    answer: Any, expected: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "picture")
    check(answer, expected)
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (torch.tensor(19.0), 20.0),
        (np.array([20.0, 20.0]), 20.0),
        (torch.tensor([2.0, 3.0]), [3.0, 2.0]),
        (torch.tensor([[2.0, 3.0]]), [2.0, 3.0]),
        (pd.DataFrame({"a": [1, 2]}), 20.0),
        (pd.Series([2, 3], index=["a", "c"]), {"a": 2, "b": 3}),
        (True, 1),
        (np.bool_(False), 0.0),
        (True, [1, 0]),
        ([True, False], [0, 1]),
        ([True, False], [1, 2]),
        ("20", 20.0),
        (math.nan, 20.0),
        (10**400, 20.0),
        (Decimal("sNaN"), 20.0),
        (20 + 1j, 20.0),
        (max, 20.0),
        ([], 20.0),
        (np.float32(20.001), 20.0),
    ],
)
def test_a_wrong_answer_is_wrong_in_any_type(answer: Any, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "picture")
    with pytest.raises(WrongAnswer, match="is not it"):
        check(answer, expected, hint="Think.", tolerance=1e-9)


def test_an_answer_may_be_rounded_as_its_type_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    check(np.float32(0.95), 0.95, tolerance=1e-9)
    check(1 - 1 / torch.tensor(20.0), 0.95, tolerance=1e-9)
    with pytest.raises(WrongAnswer):
        check(0.95000001, 0.95, tolerance=1e-9)


NOTEBOOK = """
import os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for face in ("", "live", "picture", "site"):
    os.environ["WORKBENCH_FACE"] = face
    done = shell.run_cell("import workbench.exercises as e; e.check(0.05, 20, {'the <density>': 0.05}, hint='Divide.')")
    print("stopped" if done.error_in_exec else "went on")
"""


def test_a_wrong_answer_is_one_line_and_stops_headless_runs_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-c", NOTEBOOK]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    line = "0.05 is the result of this mistake: the <density>. Divide."
    live, headless = [f"Not right. {line}", "went on"], [f"WrongAnswer: {line}", "stopped"]
    assert out.splitlines() == [*live, *live, *headless, *headless]


def test_the_line_is_red_and_safe_to_show() -> None:
    shown = WrongAnswer("the <density>")._repr_html_()
    assert 'role="alert" style="color:#a40000' in shown
    assert "the &lt;density&gt;" in shown


def test_an_open_answer_is_open_in_every_face(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for face in ("live", "picture", "site"):
        monkeypatch.setenv("WORKBENCH_FACE", face)
        check(None, 20.0)
        check(..., 20.0)
    assert capsys.readouterr().out.count("Not answered yet") == 6


def test_a_long_answer_stays_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "picture")
    with pytest.raises(WrongAnswer) as error:
        check(torch.zeros(100, 100), 20.0)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


MASKS = {"fc1.weight": torch.ones(2, 3).bool(), "fc2.weight": torch.zeros(1, 2).bool()}


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        ("0.05", 0.05, "'0.05' is not it. The answer must be a number, and this is text: remove the quotation marks."),
        ("8,4,9,3", [8, 4, 9, 3], "must be a list of length 4, and this is text: remove the quotation marks."),
        ([8, 4, 9], [8, 4, 9, 3], "must be a list of length 4, and this is a list of length 3"),
        ([8, 4, None, 3], [8, 4, 9, 3], "The answer at [2] must be a number, and this is None: replace it"),
        ([[8, 4], [9, 3]], [8, 4, 9, 3], "must be a list of length 4, and this is an array of shape (2, 2)"),
        (np.zeros((4, 1)), [8, 4, 9, 3], "must be a list of length 4, and this is an array of shape (4, 1)"),
        ([8, 4, 1j, 3], [8, 4, 9, 3], "The answer at [2] must be a number, and this is a complex number"),
        (
            torch.zeros(3, 2),
            torch.zeros(2, 3),
            "must be an array of shape (2, 3), and this is an array of shape (3",
        ),
        (torch.zeros(2, 3) * 1j, torch.ones(2, 3), "at [0][0] must be a number, and this is a complex number"),
        ({"a": "1", "b": 5}, {"a": 1, "b": 5}, "at ['a'] must be a number, and this is text: remove the quotation"),
        ({"fc1": 1}, MASKS, "must have the names fc1.weight, fc2.weight, and this has fc1: use those names"),
        ([1, 2], MASKS, "must be a dict, and this is a list of length 2: give a dict with the names fc1.weight, fc2"),
        ({n: m.T for n, m in MASKS.items()}, MASKS, "at ['fc1.weight'] must be an array of shape (2, 3), and this"),
        ({n: m.int() for n, m in MASKS.items()}, MASKS, "['fc1.weight'][0][0] must be True or False, and this is a n"),
        (torch.eye(2).to_sparse(), torch.eye(2), "must be an array of shape (2, 2), and this is an object of type"),
        (max, 1, "must be a number, and this is an object of type builtin_function_or_method: give a number"),
        (pd.NA, 1, "must be a number, and this is an object of type NAType"),
        (True, 1, "must be a number, and this is True or False"),
        ([True], [1, 0], "must be a list of length 2, and this is a list of length 1"),
        (5, "global", "must be text, and this is a number"),
        ([10**5000], [1], "An answer of this length is not it. Think."),
        (1.33, 4 / 3, "1.33 is not it. It is close: give more digits, or the expression itself."),
        (0.053, 0.0526315, "is close: give more digits"),
        (0.052, 0.0526315, "is close: give more digits"),
        ([2, torch.tensor(1.33)], [2, 4 / 3], "is close: give more digits"),
        (19.7, 20, "19.7 is not it. Think."),
    ],
)
def test_an_answer_of_another_form_is_told_what_to_do(
    answer: Any, expected: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "picture")
    with pytest.raises(WrongAnswer) as error:
        check(answer, expected, hint="Think.")
    assert told in str(error.value)


def test_masks_are_compared_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "picture")
    check({name: mask.numpy() for name, mask in MASKS.items()}, MASKS)
    assert capsys.readouterr().out.startswith("Right: ")
    removed = {name: ~mask for name, mask in MASKS.items()}
    with pytest.raises(WrongAnswer, match="this mistake: the removed ones"):
        check(removed, MASKS, {"the removed ones": removed})
