"""Timings by name: each ends with exactly the sparsity asked for, at masks that its definition gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from workbench.methods.registry import METHODS
from workbench.states import Record


@pytest.fixture(scope="module")
def task() -> wb.Task:
    return wb.load("digits", device="cpu")


def lenet(task: wb.Task) -> torch.nn.Module:
    return wb.make("lenet-300-100", task, seed=0, width=0.1)


OF_WEIGHTS = [name for name in wb.timings() if name not in METHODS or METHODS[name].granularity == "weight"]


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_every_timing_ends_with_the_sparsity(name: str, task: wb.Task) -> None:
    model = lenet(task)
    total = sum(weight.numel() for weight in wb.prunable(model).values())
    more = {} if name in wb.methods() else {"rounds": 2}
    rows = list(wb.timing(name, model, task, 0.75, steps=30, **more))
    assert sum(int(mask.sum()) for mask in rows[-1].masks.values()) == total - int(total * 0.75 + 0.5)
    assert all(not weight[~rows[-1].masks[n]].any() for n, weight in wb.prunable(model).items())
    assert all(row["phase"] for row in rows)


@pytest.mark.parametrize(
    ("name", "unit", "how"),
    [
        ("before", "1:2", {}),
        ("early", "block 4x4", {"exclude": ["fc1"]}),
        ("after", "channel", {"exclude": ["fc3"], "allocation": "layer"}),  # whose channels are the outputs
        ("rewound", "channel", {"exclude": ["fc3"], "allocation": "layer", "rounds": 2}),
    ],
)
def test_a_timing_cuts_by_a_granularity(name: str, unit: str, how: dict[str, Any], task: wb.Task) -> None:
    model, sparsity = lenet(task), 0.5
    rows = list(wb.timing(name, model, task, sparsity, steps=6, granularity=unit, **how))
    masks = rows[-1].masks
    kept = wb.granularity.find_granularity(unit).reduce(
        model, {n: m for n, m in masks.items() if n.endswith("weight")}, lambda bits: bits.any(-1)
    )
    total = sum(bits.numel() for bits in kept.values())
    assert sum(int(bits.sum()) for bits in kept.values()) == total - int(total * sparsity + 0.5)
    assert all(not model.get_parameter(own)[~mask].any() for own, mask in masks.items())
    assert ("fc1.bias" in masks) == (unit == "channel")


def test_early_is_before_when_k_is_0(task: wb.Task) -> None:
    masks = [
        list(wb.timing(name, lenet(task), task, 0.9, criterion="snip", steps=4, **more))[-1].masks
        for name, more in (("before", {}), ("early", {"k": 0}))
    ]
    assert all(torch.equal(masks[0][n], masks[1][n]) for n in masks[0])


def test_rewound_is_the_open_loop(task: wb.Task) -> None:
    model = lenet(task)
    rows = list(wb.timing("rewound", model, task, 0.75, rounds=2, steps=12, k=3))
    assert len(rows) == 12 + 2 * (12 - 3)

    other = lenet(task)
    wb.train(other, task, steps=12, stop=3)
    early, masks = wb.snapshot(other), None
    for sparsity in (0.5, 0.75):
        wb.train(other, task, steps=12, start=3, masks=masks)
        masks = wb.keep_top({n: w.abs() for n, w in wb.prunable(other).items()}, sparsity, within=masks)
        other.load_state_dict(early)
    wb.train(other, task, steps=12, start=3, masks=masks)
    assert all(torch.equal(rows[-1].masks[n], mask) for n, mask in (masks or {}).items())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_rates_are_those_of_the_timing(task: wb.Task) -> None:
    again, tuned = (list(wb.timing(name, lenet(task), task, 0.5, steps=8)) for name in ("rate-rewound", "fine-tuned"))
    assert [row["lr"] for row in again[8:]] == [row["lr"] for row in again[:8]]
    assert [row["lr"] for row in tuned[8:]] == pytest.approx([0.01 * row["lr"] for row in tuned[:8]])


def test_bad_input_is_named(task: wb.Task) -> None:
    for name, more, told in (
        ("befor", {}, "timing .*'befor'"),
        ("early", {"k": 30}, "k is .* from 0 to 29; got 30"),
        ("rewound", {"k": -1}, "k"),
        ("before", {"drop": 0.3}, "got drop"),
        ("rigl", {"dropp": 0.3}, "got dropp"),
        ("l0", {"criterion": "snip"}, "got criterion"),
        ("after", {"k": 3}, "got k"),
        ("gradual", {"granularity": "channel"}, "got granularity"),
        ("after", {"granularity": "kernel"}, r"kernels are of convolutions; 'fc1\.weight'"),
        ("before", {"granularity": "1:2", "rounds": 2}, "is one cut; got rounds=2"),
        ("after", {"rounds": 0}, "rounds"),
    ):
        with pytest.raises((ValueError, TypeError), match=told):
            wb.timing(name, lenet(task), task, 0.5, steps=30, **more)


# Runs that are killed

HOW: dict[str, dict[str, Any]] = {
    "rewound": {"rounds": 2, "k": 3},
    "gradual": {"every": 3},
    "rigl": {"every": 3},
}


def moons(name: str, folder: Path | None = None) -> tuple[torch.nn.Module, Iterator[Record]]:
    task = wb.load("moons", device="cpu")
    model = wb.make("lenet-300-100", task, width=0.1)
    return model, wb.timing(name, model, task, 0.75, steps=30, folder=folder, save_every=2, **HOW[name])


KILLED = """
import json, os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_timing import moons

draw = random.Random(1)
for name in ("rewound", "gradual", "rigl"):
    list(moons(name)[1])  # loads all that torch loads at first, once
    for attempt in range(6):
        last = draw.randint(3, 5) if attempt < 5 else 999
        pid = os.fork()
        if not pid:
            for count, row in enumerate(moons(name, Path(sys.argv[2], name))[1], start=1):
                if count == last:
                    os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        print(json.dumps([name, os.waitpid(pid, 0)[1]]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    """SIGKILL at random steps, five times; what is left at the end is the run that nobody killed."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300).stdout
    ends = [json.loads(line) for line in told.splitlines()]
    for name in HOW:
        assert [status for which, status in ends if which == name] == [signal.SIGKILL] * 5 + [0]
        whole, rows = moons(name)
        *_, last = rows
        again, rest = moons(name, tmp_path / name)
        *_, end = rest
        assert {**end, "seconds": 0} == {**last, "seconds": 0}
        assert all(torch.equal(last.masks[n], mask) for n, mask in end.masks.items())
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_schedule_of_one_step_is_one(task: wb.Task) -> None:
    assert len(list(wb.timing("before", lenet(task), task, 0.5, steps=1))) == 1


def test_a_criterion_of_your_own_goes_on(task: wb.Task, tmp_path: Path) -> None:
    for _ in range(2):
        mine = lambda model: {name: w.detach().abs() for name, w in wb.prunable(model).items()}  # noqa: E731
        list(wb.timing("after", lenet(task), task, 0.5, criterion=mine, steps=2, folder=tmp_path))


def test_other_first_weights_are_another_run(task: wb.Task, tmp_path: Path) -> None:
    list(wb.timing("before", lenet(task), task, 0.5, steps=2, folder=tmp_path))
    with pytest.raises(ValueError, match="weights was"):
        wb.timing("before", wb.make("lenet-300-100", task, 1, 0.1), task, 0.5, steps=2, folder=tmp_path)


def test_a_folder_of_another_run_is_refused(task: wb.Task, tmp_path: Path) -> None:
    list(wb.timing("before", lenet(task), task, 0.5, steps=2, folder=tmp_path))
    with pytest.raises(ValueError, match=r"another run: sparsity was 0\.5, is 0\.6"):
        wb.timing("before", lenet(task), task, 0.6, steps=2, folder=tmp_path)
