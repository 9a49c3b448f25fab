"""Timing in the playground: what each one shows before and after its training, and the film of a recorded one."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from workbench.explorers.playground import code, film, save
from workbench.explorers.playground.choices import Choices, check_state, weight_timings
from workbench.explorers.playground.session import Session
from workbench.explorers.worker import drain
from workbench.recipes import RECIPES, Recipe

FOUR = {"data": "moons", "network": "lenet-300-100", "criterion": "magnitude", "compression": 4.0, "rounds": 2}
STEPS = 32
"""Of one schedule: two epochs."""
CHANNELS = {"granularity": "channel", "allocation": "layer"}


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_FACE", raising=False)
    monkeypatch.setitem(RECIPES, ("moons", "lenet-300-100"), Recipe(epochs=2, batch_size=64))


@pytest.fixture(scope="module")
def session() -> Session:
    return Session({"moons": wb.load("moons", device="cpu")}, {})


@pytest.fixture
def playground() -> Iterator[Any]:
    explorer = wb.explorers.playground("moons", state={"compression": 4}, rows=[])
    yield explorer
    explorer.close()


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def press(explorer: Any, kind: str) -> None:
    explorer._handle_custom_msg({"kind": kind}, [])


def ask(explorer: Any, **changes: Any) -> int:
    request = explorer.choices["request"] + 1
    explorer.set_state({"choices": {**explorer.choices, **changes, "request": request}})
    return request


def trained(session: Session, **setting: Any) -> Choices:
    choices = drain(session.prepare(check_state(FOUR | setting)))
    for side in choices.sides:
        drain(session.train(side, side.seed, lambda what, progress: None))
    return drain(session.prepare(choices))


def kept(frame: dict[str, Any]) -> list[dict[str, int]]:
    return [{one["name"]: one["kept"] for one in side["layers"]} for side in frame["sides"]]


@pytest.mark.parametrize(
    ("timing", "more"), [*((name, {}) for name in weight_timings()), ("after", CHANNELS), ("rewound", CHANNELS)]
)
def test_the_shown_code_gives_the_masks_of_every_timing_at_any_step(
    session: Session, timing: str, more: dict[str, Any]
) -> None:
    choices = trained(session, timing=timing, **more, **({"k": 0} if timing == "early" else {}))
    (one,) = session.films.of(choices)
    assert one["total"] == session.length(choices)
    changed = [stop for stop, place in zip(one["stops"], one["shown"], strict=True) if place == one["shown"][-1]]
    threads = torch.get_num_threads()
    try:
        for step in (changed[0], None):
            at = replace(choices, step=step)
            space: dict[str, Any] = {}
            exec(code.lines(session, at), space)
            weights = wb.prunable(space["model"])
            assert kept(session.frame(at)) == [{name: int(space["masks"][name].sum()) for name in weights}]
            ((_, saved, _),) = session.masks(at)
            assert all(bool((saved[name] == mask).all()) for name, mask in space["masks"].items())
            (side,) = session.frame(at)["sides"]
            assert side["numbers"]["size_ratio"] == wb.size_ratio(space["model"], space["masks"])  # biases counted
            assert ("channels kept; fc3.weight stays dense (200 weights)" in side["sentence"]) == bool(more)
    finally:
        torch.set_num_threads(threads)
    assert session.points.curve(choices)[-1:] == []  # points are added by who asked for the training


@pytest.mark.parametrize(
    ("timing", "density", "scored"), [("before", 0.25, True), ("early", 0.25, True), ("after", 0.25, True),
                                      ("gradual", 1, False), ("rigl", 0.25, False), ("rewound", 1, False)]
)  # fmt: skip
def test_before_the_training_only_masks_that_are_known_are_shown(timing: str, density: float, scored: bool) -> None:
    own = Session({"moons": wb.load("moons", device="cpu")}, {})
    choices = drain(own.prepare(check_state(FOUR | {"timing": timing})))
    (side,) = own.frame(choices)["sides"]
    assert side["numbers"]["kept"] == density * side["numbers"]["total"]
    assert (side["scores"] is not None) == scored
    assert side["sentence"].endswith("the training starts from this") != scored
    assert own.films.of(choices) == []


def test_a_film_by_hand(session: Session) -> None:
    choices = trained(session, timing="after")
    (one,) = session.films.of(choices)
    assert one["total"] == 2 * STEPS
    assert one["stops"] == list(range(2 * STEPS + 1))
    assert one["shown"] == [0] + [1] * STEPS + [2] * STEPS  # the start; dense; cut
    assert one["phase"] == [""] + ["dense"] * STEPS + ["pruned"] * STEPS
    assert one["density"] == [None] + [1.0] * STEPS + [0.25] * STEPS
    assert one["value"][:16] == [None] * 16  # measured at the end of each epoch
    assert None not in one["value"][16:]
    layer = next(layer for layer in one["sides"][2]["layers"] if layer["name"] == choices.layer)
    assert one["died"][STEPS + 1 :] == [layer["size"] - layer["kept"]] * STEPS
    assert set(one["born"]) == {0}
    (side,) = session.frame(replace(choices, step=STEPS + 1))["sides"]
    assert side["sentence"].endswith(f"step {STEPS + 1} of {2 * STEPS}")
    assert side["step"] | {"loss": 0, "value": 0} == {
        "at": STEPS + 1, "total": 2 * STEPS, "phase": "pruned", "loss": 0, "value": 0, "density": 0.25,
        "born": 0, "died": layer["size"] - layer["kept"],
    }  # fmt: skip


def test_of_two_films_the_shorter_one_stays_at_its_end(session: Session) -> None:
    way = {"timing": "before", "criterion": "magnitude", "rounds": 1}
    choices = trained(session, timing="after", compare=way)
    first, second = session.frame(replace(choices, step=2 * STEPS))["sides"]
    assert (first["step"]["at"], second["step"]["at"]) == (2 * STEPS, STEPS)
    alone = replace(choices, timing="before", rounds=1, compare=None, step=2 * STEPS)  # the longer one is let go
    assert session.frame(alone)["sides"][0]["step"]["at"] == STEPS
    assert session.films.told(alone).step == drain(session.prepare(alone)).step == STEPS


def test_a_long_film_keeps_to_its_bytes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, ("moons", "lenet-300-100"), Recipe(epochs=10, batch_size=64))
    choices = trained(session, timing="set", seed=1)
    (whole,) = session.films.of(choices)
    recording, (start, picture) = session.films.run(choices.sides[0]), (whole["sides"][0], whole["sides"][-1])
    assert recording is not None
    assert len(recording.changes) == 8
    for most, grain in ((30_000, 2), (4_000, 4)):
        monkeypatch.setattr(film, "BYTES", most)
        monkeypatch.setattr(film, "STOPS", 4)
        grains: list[int] = []

        def drawn(masks: Any, at: int, coarse: int, grains: list[int] = grains) -> dict[str, Any]:
            grains.append(coarse)
            return {**picture, "mask": "x" * (8_000 // coarse**2)}

        made = drain(film.film(recording, choices.layer, "accuracy", start, drawn))
        assert grains[-1] == grain
        assert len(json.dumps(made["sides"][1:])) <= 1.5 * most  # the first and the last change are always there
        assert len(made["sides"]) < 9 or grain == 2
        assert (made["stops"][0], made["stops"][-1], made["shown"][-1]) == (0, 160, len(made["sides"]) - 1)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"timing": "pruned"}, "timing is one of after, before, .*early"),
        ({"timing": "soft-filter"}, "timing is one of after"),  # a share of the channels is no share of the weights
        ({"timing": "early", "k": STEPS}, "k is a step of the schedule before its end, from 0 to 31; got 32"),
        ({"timing": "rewound", "k": -1}, "k is a whole number of at least 0"),
        ({"compare": {"timing": "early", "k": 99}}, "k is a step of the schedule before its end"),
        ({"step": 1.5}, "step is a whole number"),
        ({"timing": "rewound", "rounds": 3, "k": 2, "step": 123}, "step is .* from 0 to 122; got 123"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_timing_is_said_with_what_is_allowed(state: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        wb.explorers.playground("moons", state=state)


def test_a_k_that_another_network_s_training_does_not_reach_gives_way(session: Session) -> None:
    chosen = Choices(**FOUR, timing="early", k=STEPS, compare=Choices(timing="rewound", k=STEPS - 1).way)
    fitted = drain(session.prepare(chosen))
    assert (fitted.k, fitted.compare) == (None, chosen.compare)
    assert session.menu(fitted)["k"] == {"timings": ["early", "rewound"], "usual": 1, "most": STEPS - 1}
    fitted = drain(session.prepare(replace(chosen, k=0, compare=chosen.way)))
    assert (fitted.k, fitted.compare and fitted.compare["k"]) == (0, None)


def test_train_records_and_a_step_is_looked_up(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(playground, timing="gradual")
    until(lambda: playground.frame["request"] == request)
    assert playground.runs == {}
    assert playground.state()["step"] is None
    press(playground, "train")
    until(lambda: playground.runs)
    sent = []
    playground.observe(lambda change: sent.append(change), "runs")
    assert playground.frame["sides"][0]["step"]["at"] == STEPS == playground.state()["step"]  # its end
    for step in (0, 1, STEPS):
        request = ask(playground, step=step)
        assert playground.frame["request"] == request
    assert sent == []  # the page has it already
    (point,) = playground.curve
    assert (point["name"], point["maker"], point["timing"]) == ("gradual", "gradual", "gradual")
    monkeypatch.chdir(tmp_path)
    press(playground, "save_masks")
    until(lambda: list(tmp_path.glob("*.safetensors")))
    request = ask(playground, timing="before", step=None)
    until(lambda: playground.frame["request"] == request)
    assert playground.runs == {}
    assert playground.curve == [point]  # what was trained here stays in sight
    assert playground.errors == []


def test_each_train_shows_the_seed_that_it_trained(playground: Any) -> None:
    for seed in (0, 1):
        press(playground, "train")
        until(lambda seed=seed: playground.runs and playground.runs["of"]["seed"] == playground.choices["seed"] == seed)
    request = ask(playground, compression=8.0, step=None)
    until(lambda: playground.frame["request"] == request)
    press(playground, "train")
    until(lambda: playground.runs and playground.runs["of"]["compression"] == 8)
    assert playground.runs["of"]["seed"] == 0  # each setting begins with the first seed


def test_a_state_with_a_step_is_trained_when_it_is_opened(playground: Any) -> None:
    playground.from_state({"timing": "set", "step": 20})
    until(lambda: playground.runs)
    assert playground.frame["sides"][0]["step"]["at"] == 20
    assert playground.state()["step"] == 20
    assert playground.errors == []


def test_a_state_with_a_step_is_told_that_another_training_runs(
    playground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playground.worker, "busy", lambda *_: True)
    playground.from_state({"timing": "set", "step": 20})
    assert "another training runs" in playground.status["message"]


def test_a_page_holds_the_film_of_a_state_with_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    page = wb.explorers.playground(
        "moons", state={"timing": "gradual", "step": 20, "compression": 4, "criterion": "snip"}
    )
    assert page.frame["sides"][0]["step"]["at"] == 20
    assert '"films":[{"total":32' in page.bundle["text/html"]
    assert "gradual: " in page.bundle["text/plain"]


def test_a_file_s_name_tells_the_step_and_leaves_out_what_is_not_used() -> None:
    assert save._name(Choices(timing="rigl", step=7, compression=10.0), "layers") == (
        "playground-digits-vgg-rigl-global-1-round-10x-seed-0-step-7-layers"
    )
    assert "-rewound-k-3-magnitude-" in save._name(Choices(timing="rewound", k=3))
