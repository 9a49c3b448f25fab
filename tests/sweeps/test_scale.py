"""The simulation of large sweeps: numbers by hand, laws of queues, another implementation; its page and its figures."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import figures, scale
from benchmarks.scale import Sweep, on_dask, page, sharing, simulate, tables

MADE = json.loads(scale.FIGURES.read_text(encoding="utf-8"))
FREE = dict.fromkeys(figures.UNITS, 0.0)


def test_a_million_runs_without_overhead_take_their_turns():
    found = simulate(Sweep(1_000_000, 1_000, scheduler=0, driver=0), 10.0)
    assert found == (10_000, 1, 0, 0)
    assert found.first == "workers"


@pytest.mark.parametrize("workers", [50, 500])
def test_a_driver_of_16_ms_lets_64_runs_a_second_through_whatever_the_workers(workers):
    found = simulate(Sweep(6_400, workers, scheduler=0, driver=1 / 64, ahead=2), 0.25)
    assert found.seconds == 0.25 + 6_400 / 64  # the driver waits for the first run, then never again
    assert found.driver == 100 / 100.25
    assert found.first == "driver"


def test_the_slower_server_is_the_limit():
    found = simulate(Sweep(1_000, 100, scheduler=0.5, driver=0.125, ahead=2), 1.0)
    assert found.seconds == 1 + 1_000 * 0.5 + 0.125
    assert found.first == "scheduler"


def test_one_worker_waits_for_the_driver_unless_a_run_waits_with_it():
    assert simulate(Sweep(100, 1, scheduler=0.25, driver=0.5), 2.0).seconds == 100 * 2.75
    assert simulate(Sweep(100, 1, scheduler=0.25, driver=0.5, ahead=2), 2.0).seconds == 100 * 2 + 0.75


def test_seconds_above_a_run_are_no_work_of_the_sweep_but_hold_its_worker():
    assert simulate(Sweep(100, 10, 0, 0, above=0.5), 1.0).seconds == 15


SMALL = {
    "runs": st.integers(1, 40),
    "workers": st.integers(1, 6),
    "scheduler": st.integers(0, 3),
    "driver": st.integers(0, 3),
    "ahead": st.integers(1, 3),
}


@given(**SMALL, seconds=st.integers(1, 9))
def test_it_is_a_simulation_that_steps_through_time(runs, workers, scheduler, driver, ahead, seconds):
    """All in whole seconds, so that another simulation can go from second to second."""
    found = simulate(Sweep(runs, workers, scheduler, driver, ahead=ahead), float(seconds))
    assert found.seconds == stepped(runs, workers, scheduler, driver, ahead, seconds)


def stepped(runs, workers, scheduler, driver, ahead, seconds):
    """The second in which the last row lands, by counters and clocks of each server alone."""
    out = min(runs, workers * ahead)
    left, waiting, landed, now = runs - out, out, 0, 0
    computing, queues, serving = [], [0, 0], [None, None]
    while True:
        moved = True
        while moved:  # all that happens in this second
            moved = False
            if done := computing.count(now):
                computing = [end for end in computing if end != now]
                queues[0], moved = queues[0] + done, True
            for place, takes in enumerate((scheduler, driver)):
                if serving[place] == now:
                    serving[place], moved = None, True
                    if place == 0:
                        queues[1] += 1
                    else:
                        landed += 1
                        waiting, left = waiting + min(1, left), left - min(1, left)
                if serving[place] is None and queues[place]:
                    queues[place], serving[place], moved = queues[place] - 1, now + takes, True
            while waiting and len(computing) < workers:
                waiting, moved = waiting - 1, True
                computing.append(now + seconds)
        if landed == runs:
            return now
        now += 1


@given(**SMALL, spread=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_no_part_is_busy_for_longer_than_the_sweep(runs, workers, scheduler, driver, ahead, spread, seed):
    found = simulate(Sweep(runs, workers, scheduler, driver, ahead=ahead), 2.0, spread, seed)
    assert max(found[1:]) <= 1 + 1e-9
    assert found.seconds <= runs * (2 * (1 + math.sqrt(3) * spread) + scheduler + driver) + 1e-9


def test_runs_have_the_mean_and_the_spread_that_are_asked():
    one_by_one = simulate(Sweep(10_000, 1, 0, 0), 3.0, 0.2).seconds / 10_000
    assert one_by_one == pytest.approx(3, rel=4 * 0.2 / math.sqrt(10_000))
    many = np.array([simulate(Sweep(1, 1, 0, 0), 3.0, 0.2, seed).seconds for seed in range(2_000)])
    assert many.std() == pytest.approx(0.6, rel=0.05)


def test_a_scheduler_is_slower_with_more_workers():
    costs = {
        **FREE,
        "scheduler": 0.001,
        "choice": 1e-6,
        "watch": 0.0005,
        "land": 0.002,
        "client": 0.001,
        "disk": 0.001,
    }
    assert on_dask(costs, 10, 1_000)[:4] == pytest.approx((10, 1_000, 0.002 / 0.5, 0.004))
    assert on_dask(costs, 10, 1_000, disk=0.01).driver == pytest.approx(0.013)
    with pytest.raises(ValueError, match="fewer"):
        on_dask(costs, 10, 2_000)


def test_a_sweep_that_shares_a_folder_looks_at_what_the_others_do():
    assert sharing({**FREE, "land": 0.002, "skip": 0.0001}, 1_000, 100, 10) == (100, 10, 0, pytest.approx(0.0029), 0, 1)


def test_the_page_has_the_tables_of_the_written_figures():
    text = scale.PAGE.read_text(encoding="utf-8")
    assert page(text, tables(**MADE)) == text


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="no place for one"):
        page("words", {"one": "| a |\n"})


def test_tables_are_of_the_figures():
    few = tables({**FREE, "land": 0.5, "resume": 0.001, "resume memory": 2e3}, "one of ours", runs=200, workers=100)
    assert "| 0.1 s | 100 s | 0 s | 0% | 0% | 100% | driver |" in few["one"]
    assert "0 s, 0 MB" in few["rest"]
    assert few["figures"].startswith("| figure | one of ours | what it is |\n")
    assert "| `land` | 500 ms a run |" in few["figures"]
    assert "| driver, this disk | 500.0 ms | 2 |" in few["limits"]


@pytest.mark.skipif(os.name != "posix", reason="blocks of a disk")
def test_figures_are_measured(tmp_path: Path):
    found = figures.driver(tmp_path, 30) | figures.rows(tmp_path, 80)
    assert found.keys() | {"client", "scheduler", "choice", "watch", "process", "spread"} == set(figures.UNITS)
    assert all(math.isfinite(value) for value in found.values())
    assert all(value > 0 for name, value in found.items() if name != "disk")  # a disk in memory keeps nobody waiting
    assert 200 < found["row"] <= found["blocks"]
    assert MADE["figures"].keys() == set(figures.UNITS)


def test_memory_is_counted():
    held = []
    assert figures.peak(lambda: held.append(bytes(10**6))) == pytest.approx(10**6, rel=0.01)


@pytest.mark.skipif(os.name != "posix", reason="processes that are killed")
def test_a_scheduler_and_workers_are_measured(tmp_path: Path):
    found = figures.cluster(tmp_path, 2, 20, rest=0.5)
    assert found.keys() == {"client", "scheduler", "choice", "watch"}
    assert all(math.isfinite(value) for value in found.values())
    assert 0 < found["choice"] < 1
    assert 0 < found["watch"] < 1
