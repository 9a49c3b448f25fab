"""The playground without a browser: frames against the library, threads, errors, state, code, and its three faces."""

import base64
import contextlib
import copy
import itertools
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axis import Axis
from torch import nn

import workbench as wb
from workbench.claims import NUMBERS_MIME
from workbench.criteria.registry import unregister_criterion
from workbench.data import squared_error
from workbench.explorers.playground import ahead as made_ahead
from workbench.explorers.playground import code
from workbench.explorers.playground import view as frames
from workbench.explorers.playground.choices import Choices, check_state
from workbench.explorers.playground.session import Session
from workbench.explorers.playground.still import settle
from workbench.explorers.stops import stops
from workbench.explorers.worker import drain
from workbench.plots.looks import LOOKS, Look
from workbench.recipes import RECIPES, Recipe


def until(condition: Any, seconds: float = 30) -> None:
    """Wait for another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def digits() -> wb.Task:
    return wb.load("digits", device="cpu")


@pytest.fixture(scope="module")
def session(digits: wb.Task) -> Session:
    return Session({"digits": digits}, {})


@pytest.fixture(autouse=True)
def embedded_data_short_training_and_small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_ahead, "SECONDS", 1.0)
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.delenv("WORKBENCH_FACE", raising=False)
    monkeypatch.setitem(RECIPES, ("moons", "lenet-300-100"), Recipe(epochs=2, batch_size=64))


@pytest.fixture
def playground(request: pytest.FixtureRequest) -> Any:
    """Make live playgrounds that end with the test."""

    def make(*arguments: Any, **options: Any) -> Any:
        explorer = wb.explorers.playground(*arguments, **options)
        request.addfinalizer(explorer.close)
        return explorer

    return make


def ask(explorer: Any, **changes: Any) -> int:
    """Change choices as the page does; returns the request."""
    request = explorer.choices["request"] + 1
    explorer.set_state({"choices": {**explorer.choices, **changes, "request": request}})
    return request


def press(explorer: Any, kind: str, **content: Any) -> None:
    """Send a message as the page does."""
    explorer._handle_custom_msg({"kind": kind, **content}, [])


def sent(explorer: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the messages to the page."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(explorer, "send", messages.append)
    return messages


# Frames say what the library says


WAY = Choices().way
SETTINGS = [
    Choices(criterion="magnitude", compression=20),
    Choices(criterion="snip", compression=317.3, layer="fc.weight"),
    Choices(criterion="grasp", compression=1000),
    Choices(criterion="synflow", compression=2, allocation="layer"),
    Choices(criterion="synflow", compression=500, rounds=5),
    Choices(criterion="random", compression=50, seed=3, rounds=5, allocation="layer"),
    Choices(criterion="snip", compare=WAY | {"criterion": "random"}, compression=32),
    Choices(criterion="snip", compare=WAY | {"criterion": "snip", "allocation": "erk", "rounds": 5}, compression=32),
    Choices(network="resnet-20", criterion="snip", compression=100),
    Choices(data="moons", network="lenet-300-100", criterion="magnitude", compression=1),
    Choices(granularity="kernel", criterion="snip", compression=10, layer="fc.weight"),
    Choices(granularity="2:4", compression=30, compare=WAY | {"granularity": "pattern", "allocation": "erk"}),
    Choices(granularity="block 4x4", criterion="synflow", allocation="layer", rounds=5, compression=20),
    Choices(network="resnet-20", granularity="channel", criterion="snip", allocation="layer", compression=2),
]


@pytest.mark.filterwarnings("ignore:the cut leaves no")
@pytest.mark.parametrize("choices", SETTINGS, ids=str)
def test_a_frame_counts_exactly_what_the_shown_code_keeps(session: Session, choices: Choices) -> None:
    if choices.network == "vgg":
        names = list(wb.prunable(wb.make("vgg", session.task("digits"))))
        choices = replace(choices, layer=names[-1] if choices.layer else "")
    fitted, frame = settle(session, choices)
    threads = torch.get_num_threads()
    try:
        parts = code.lines(session, fitted).split("wb.layers(")
        space: dict[str, Any] = {}
        for at, side, part in zip(fitted.sides, frame["sides"], parts[:-1], strict=True):
            exec("(" + part if part.startswith("model, masks") else part, space)
            masks = space["masks"]
            weights = {name: masks[name] for name in wb.prunable(space["model"])}
            assert {layer["name"]: layer["kept"] for layer in side["layers"]} == {
                name: int(mask.sum()) for name, mask in weights.items()
            }
            shown = side["mask"]
            cells = np.frombuffer(base64.b64decode(shown["data"]), np.uint8).reshape(shown["rows"], shown["cols"])
            if shown["note"] == "one cell = one weight":
                exact = masks[fitted.layer].flatten(1).cpu().numpy()
                assert (cells == 255 * exact).all()
            model, example = space["model"], space["batch"].inputs[:1]
            numbers = side["numbers"]
            assert numbers["kept"] == sum(int(m.sum()) for m in weights.values())
            assert numbers["compression"] == pytest.approx(wb.compression(masks))
            assert numbers["sparsity"] == pytest.approx(wb.sparsity(masks))
            assert numbers["size_ratio"] == pytest.approx(wb.size_ratio(model, masks))
            assert numbers["macs"] == wb.macs(model, example, masks)
            assert numbers["macs_dense"] == wb.macs(model, example)
            if at.granularity == "weight":
                assert numbers["max_compression"] == wb.max_compression(model)
            assert numbers["effective"] == wb.effective_sparsity(model, masks, example)
            if (at.rounds, at.allocation, at.granularity) == (1, "global", "weight"):
                assert numbers["critical"] == wb.critical(space["scores"])
                kept = torch.cat([space["scores"][n][m].double() for n, m in masks.items()])
                lowest = pytest.approx(float(_place(side, kept.min())), abs=1e-6)
                assert side["scores"]["cut"] == (lowest if len(kept) < numbers["total"] else None)
    finally:
        torch.set_num_threads(threads)


def _place(side: dict[str, Any], score: torch.Tensor) -> torch.Tensor:
    edges, label = side["scores"]["x"], side["scores"]["label"]
    if label.startswith("log10"):
        at = score.log10()
    else:
        unit = float(label.split("/")[1].strip(" )"))
        at = score.sign() * torch.log10(1 + score.abs() / unit)
    return at.clamp(edges[0], edges[-1])


def test_show_code_for_trained_weights_reproduces_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Session({"moons": wb.load("moons", device="cpu")}, {})
    choices = Choices("moons", "lenet-300-100", timing="after", criterion="snip", compression=30)
    fitted, frame = settle(own, choices)
    space: dict[str, Any] = {}
    threads = torch.get_num_threads()
    try:
        exec(code.lines(own, fitted), space)
    finally:
        torch.set_num_threads(threads)
    kept = {layer["name"]: layer["kept"] for layer in frame["sides"][0]["layers"]}
    assert kept == {name: int(mask.sum()) for name, mask in space["masks"].items()}
    assert own.points.dense(fitted) == ([wb.evaluate(space["model"], space["task"])["accuracy"]], "val")


def test_units_by_hand(session: Session) -> None:
    """vgg's 8 convolutions have 32,528 kernels; the first has one input, and the last layer is no convolution."""
    fitted, frame = settle(session, Choices(granularity="kernel", compression=10))
    (side,), menu = frame["sides"], session.menu(fitted)
    assert menu["granularities"] == [
        "weight", "1:4", "2:4", "4:8", "pattern", "vector", "kernel", "block 4x4", "channel"]  # fmt: skip
    assert menu["fixed"] == {"1:4": 4.0, "2:4": 2.0, "4:8": 2.0, "pattern": 2.25}
    assert menu["stops"][-1] == 32_528 / 8
    assert "3,253 of 32,528 kernels kept; fc.weight stays dense (1,280 weights)" in side["sentence"]
    assert side["numbers"]["kept"] == 9 * 3253 + 1280
    assert side["numbers"]["max_compression"] == side["numbers"]["total"] / (8 * 9 + 1280)
    shown, scores = side["mask"], side["scores"]
    assert (shown["note"], shown["unit"], shown["rows"], shown["cols"]) == ("one cell = one kernel", "kernel", 64, 32)
    assert scores["label"] == "log10 score of each kernel"
    assert sum(scores["counts"]) + scores["zero"] == 32_528
    at = side["numbers"]["critical"]  # of the weights: one kernel more, and a layer is gone
    ranking = wb.rank(
        wb.score(session.at_init(fitted).model, None, "magnitude", granularity="kernel", exclude=["fc"]),
        granularity="kernel", model=session.at_init(fitted).model,
    )  # fmt: skip
    kept = round((294_032 / at - 1280) / 9)
    alive = [all(ranking.counts(1 - n / 32_528).values()) for n in (kept, kept - 1)]
    assert (alive, side["notch"]) == ([True, False], 32_528 / kept)
    _, fixed = settle(session, replace(fitted, granularity="2:4", layer="conv2.weight", compression=50))
    (side,) = fixed["sides"]
    assert (fixed["compression"], fixed["sparsity"], side["numbers"]["kept"]) == (2.0, 0.5, (294_032 - 144) // 2 + 144)
    assert "2:4 in 8 layers; conv1.weight stays dense (144 weights)" in side["sentence"]
    mask = side["mask"]
    cells = np.frombuffer(base64.b64decode(mask["data"]), np.uint8).reshape(mask["rows"], mask["cols"])
    assert (mask["every"], mask["cols"] % 4) == ([1, 4], 0)
    assert (cells.reshape(-1, 4) == 255).sum(1).tolist() == [2] * (cells.size // 4)  # groups stand side by side
    _, whole = settle(session, replace(fitted, granularity="2:4", layer="conv1.weight"))
    assert "every" not in whole["sides"][0]["mask"]


def test_what_cannot_be_cut_is_not_offered_refused_or_gives_way(playground: Any) -> None:
    explorer = playground("digits", "vgg", state={"granularity": "kernel", "compression": 10})
    assert explorer.curve == []  # the recorded points are of weights
    ask(explorer, network="lenet-300-100")
    until(lambda: explorer.frame["request"] == explorer.choices["request"] == 1)
    assert (explorer.choices["granularity"], "kernel" in explorer.menu["granularities"]) == ("weight", False)
    assert explorer.status["message"] == "kernel cuts no layer of lenet-300-100"
    assert explorer.session.points.curve(Choices()) != []
    ask(explorer, granularity="2:4")
    until(lambda: explorer.frame["request"] == explorer.choices["request"] == 2)
    assert (explorer.frame["compression"], explorer.choices["compression"]) == (2.0, 10)
    ask(explorer, granularity="weight")  # the slider is given back
    until(lambda: explorer.frame["request"] == 3)
    assert explorer.frame["compression"] == 10
    assert explorer.errors == []


def test_the_budget_is_exact_at_every_stop(session: Session) -> None:
    fitted, frame = settle(session, Choices(criterion="snip"))
    total = frame["sides"][0]["numbers"]["total"]
    for stop in session.menu(fitted)["stops"]:
        at = replace(fitted, compression=stop)
        kept = session.frame(at)["sides"][0]["numbers"]["kept"]
        assert kept == total - int(np.floor(total * at.sparsity + 0.5))
    assert kept == len(frame["sides"][0]["layers"])  # the last stop: one weight a layer


def test_a_histogram_by_hand() -> None:
    shown = frames.histogram(torch.tensor([0.0, 0.01, 0.1, 1.0]))
    assert (shown.edges[0], shown.edges[-1], sum(shown.counts), shown.zeros) == (-2, 0, 3, 1)
    assert shown.counts[0] == shown.counts[32] == shown.counts[-1] == 1
    assert shown.place(0.1) == pytest.approx(-1)
    assert shown.place(0.0) == -2
    signed = frames.histogram(torch.tensor([-99.0, -1.0, 0.0, 1.0, 1.0]))
    assert signed.unit == 1
    assert (signed.edges[0], signed.zeros, sum(signed.counts)) == (-2, 0, 5)
    nothing = frames.histogram(torch.zeros(3))
    assert (sum(nothing.counts), nothing.zeros) == (0, 3)


def test_a_large_mask_is_shown_by_means() -> None:
    mask = torch.zeros(65, 129, dtype=torch.bool)
    mask[0, 0] = mask[64, 128] = True
    shown = frames.mask_json("w", mask)
    assert (shown["rows"], shown["cols"], shown["note"]) == (33, 65, "one cell = mean of 2 x 2 weights")
    data = base64.b64decode(shown["data"])
    assert (data[0], data[-1], sum(data)) == (64, 255, 64 + 255)


def test_sentences_and_alarms() -> None:
    numbers = {"sparsity": 0.95, "compression": 20.0, "effective": 0.956}
    assert frames.sentence(numbers, {"a": 1, "b": 2}) == "95.0 % removed, 20x; all 2 layers alive; effective 95.6 %"
    assert frames.alarm(numbers, {"a": 1, "b": 2}) == ""
    assert frames.alarm(numbers, {"a": 0, "b": 2}) == "1 of 2 layers has no weight left: a"
    many = dict.fromkeys("abcde", 0)
    assert frames.alarm(numbers, many) == "5 of 5 layers have no weight left: a, b, c and 2 more"
    dead = frames.alarm({**numbers, "effective": 1.0}, {"a": 1, "b": 2})
    assert dead == "no path from input to output is left, though every layer has weights"


def test_stops_are_round_numbers_and_end_at_the_maximum() -> None:
    values = stops(32670.2)
    assert {1, 2, 5, 10, 20, 50, 100, 1000, 10_000, 32670.2} <= set(values)
    assert values == sorted(values)
    assert stops(1.0) == [1.0]


def test_an_iterated_view_scores_as_often_as_it_has_rounds_and_shows_the_last(session: Session) -> None:
    seen: list[wb.Masks | None] = []

    @wb.register_criterion("counting", needs="nothing")
    def counting(model: nn.Module, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
        seen.append(masks)
        return {name: weight.detach().abs() / len(seen) for name, weight in wb.prunable(model).items()}

    try:
        told: list[float] = []
        choices = Choices(criterion="counting", rounds=5, compression=32)
        fitted = drain(session.prepare(choices, lambda what, progress: told.append(progress)))
        side = session.frame(fitted)["sides"][0]
    finally:
        unregister_criterion("counting")
    assert len(seen) == 5
    assert told == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    total = side["numbers"]["total"]
    assert sum(side["scores"]["counts"]) + side["scores"]["zero"] == round(total / 16)  # what round 4 had kept
    assert side["scores"]["before"] == total - round(total / 16)
    weights = torch.cat([w.reshape(-1) for w in wb.prunable(wb.make("vgg", session.task("digits"))).values()])
    lowest = weights.abs().sort(descending=True).values[side["numbers"]["kept"] - 1] / 5
    assert side["scores"]["cut"] == pytest.approx(float(_place(side, lowest.double().detach())), abs=1e-5)
    assert side["numbers"]["critical"] is None


def test_a_network_is_built_once(digits: wb.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench import models

    built: list[str] = []
    make = models.make
    monkeypatch.setattr(models, "make", lambda name, *rest: (built.append(name), make(name, *rest))[1])
    own = Session({"moons": wb.load("moons", device="cpu")}, {})
    choices = Choices("moons", "lenet-300-100", criterion="snip")
    layer = next(iter(own.at_init(choices).sizes))
    settle(own, own.check(replace(choices, layer=layer)))
    settle(own, replace(choices, timing="after", layer=layer))
    assert built == ["lenet-300-100"]


# The menu offers what works


def test_menus_offer_only_what_works(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    session = Session({"digits": session.task("digits")}, {})
    menu = session.menu(Choices())
    assert menu["data"] == ["circles", "digits", "moons", "spirals"]
    for data in menu["data"]:
        task = session.task(data)
        for network in session.menu(Choices())["networks"][data]:
            wb.make(network, task)
    (tmp_path / "cifar10").mkdir()
    for split in ("train", "test"):
        (tmp_path / "cifar10" / f"{split}-00000-of-00001.parquet").touch()
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert "cifar10" in Session({"digits": session.task("digits")}, {}).menu(Choices())["data"]


def test_own_model_data_and_criterion_in_five_lines(playground: Any) -> None:
    x = torch.randn(200, 6)
    task = wb.Task.from_arrays(x, (x[:, 0] > 0).long(), x, (x[:, 0] > 0).long(), name="mine", device="cpu")
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))

    @wb.register_criterion("negative", needs="nothing")
    def negative(model: nn.Module, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
        return {name: -weight.detach().abs() for name, weight in wb.prunable(model).items()}

    try:
        before = wb.snapshot(model)
        explorer = playground(task, model, {"criterion": "negative", "compression": 4})
        assert "mine" in explorer.menu["data"]
        assert explorer.menu["networks"]["mine"][0] == explorer.choices["network"] == "my Sequential"
        assert "negative" in explorer.menu["criteria"]
        kept = [layer["kept"] for layer in explorer.frame["sides"][0]["layers"]]
        masks = wb.keep_top(wb.score(model, None, "negative"), 0.75)
        assert kept == [int(m.sum()) for m in masks.values()]
        press(explorer, "train")
        until(lambda: explorer.curve)
        assert all(torch.equal(before[name], value) for name, value in wb.snapshot(model).items())
        assert explorer.errors == []

        @wb.register_criterion("negative", needs="nothing")
        def again(model: nn.Module, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
            return {name: weight.detach().abs() for name, weight in wb.prunable(model).items()}

        explorer._cell_ran(None)  # as after the cell that registered it
        masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.75)
        until(
            lambda: (
                [layer["kept"] for layer in explorer.frame["sides"][0]["layers"]]
                == [int(m.sum()) for m in masks.values()]
            )
        )
    finally:
        unregister_criterion("negative")


def test_what_a_task_measures_is_trained_and_shown(playground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(60, 4)
    own = dict(loss=nn.functional.mse_loss, measure=squared_error, device="cpu")
    task = wb.Task.from_arrays(x, x[:, :1], x, x[:, :1], name="amounts", **own)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    rows = [{"compression": 4, "mse": 0.25}, {"compression": 1, "mse": 0.125}]
    explorer = playground(task, model, {"criterion": "snip", "compression": 2}, rows=rows)
    assert (explorer.menu["measure"], explorer.baseline) == ("mse", {"dense": 0.125, "split": ""})
    press(explorer, "train")
    until(lambda: len(explorer.curve) == 3)
    fresh = copy.deepcopy(model)
    exec(code.lines(explorer.session, replace(explorer._shown, step=0)), space := {"task": task, "model": fresh})
    wb.train(fresh, task, masks=space["masks"], seed=0)
    reached = wb.evaluate(fresh, task)["mse"]
    assert explorer.curve[2]["mse"] == reached
    until(lambda: not explorer.worker.busy("training"))
    assert explorer.status["message"] == f"snip, 2x, seed 0: validation mse {reached:.4g}"
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    page = wb.explorers.playground(task, model, {"criterion": "snip", "compression": 2}, rows=rows)
    assert '"measure":"mse"' in page._repr_mimebundle_()["text/html"]
    with pytest.raises(ValueError, match="recorded rows have a column"):
        wb.explorers.playground(task, model, rows=[{"compression": 4, "accuracy": 0.5}])


def test_a_criterion_joins_the_open_explorers_menu_and_leaves_it_again(playground: Any) -> None:
    @contextlib.contextmanager
    def registered(name: str) -> Iterator[None]:
        @wb.register_criterion(name, needs="nothing")
        def size(model: nn.Module, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
            return {name: weight.detach().abs() for name, weight in wb.prunable(model).items()}

        try:
            yield
        finally:
            unregister_criterion(name)

    explorer, narrow = playground("moons"), playground("moons", criteria=["snip", "random"])
    with registered("later"):
        assert "later" not in explorer.menu["criteria"]
        explorer._cell_ran(None)  # as after the cell that registered it
        narrow._cell_ran(None)
        assert "later" in explorer.menu["criteria"]
        assert narrow.menu["criteria"] == ["snip", "random"]
        request = ask(explorer, criterion="later", compare=WAY | {"criterion": "snip"})
        until(lambda: explorer.frame["request"] == request)
        assert [side["criterion"] for side in explorer.frame["sides"]] == ["later", "snip"]
        with registered("second"):
            request = ask(explorer, compare=WAY | {"criterion": "second"})
            until(lambda: explorer.frame["request"] == request)
        explorer._cell_ran(None)
        assert (explorer.choices["criterion"], explorer.choices["compare"]) == ("later", None)
    explorer._cell_ran(None)
    assert "later" not in explorer.menu["criteria"]
    assert explorer.choices["criterion"] == "magnitude"
    assert explorer.status["message"] == "later is no longer registered"
    until(lambda: explorer.frame["request"] == explorer.choices["request"] and not explorer.worker.busy("scoring"))
    assert [side["criterion"] for side in explorer.frame["sides"]] == ["magnitude"]
    assert explorer.status["message"] == "later is no longer registered"  # until the next choice
    ask(explorer, compression=3)
    assert explorer.status["message"] == ""
    assert explorer.errors == narrow.errors == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(task="digit"), "Did you mean 'digits'"),
        (dict(model="vvg"), "Did you mean 'vgg'"),
        (dict(task="moons", model="vgg"), "does not fit 'moons'.*lenet-300-100"),
        (dict(criteria=["snipp"]), "Did you mean 'snip'"),
        (dict(state={"criterion": "snipp"}), "Did you mean 'snip'"),
        (dict(state={"sparsity": 0.9}), "a key of the state is one of allocation, compare, compression"),
        (dict(state={"compression": 0.9}), "For sparsity 0.9 pass compression=10"),
        (dict(state={"compression": "20"}), "Pass a number such as 20"),
        (dict(state={"layer": "nowhere"}), "layer is one of"),
        (dict(state={"timing": "afterwards"}), "timing is one of .*Did you mean 'after'"),
        (dict(state={"weights": "trained"}), "Write 'timing': 'after' in place of 'weights': 'trained'"),
        (dict(state={"compare": {"weights": "at init"}}), "Write 'timing': 'before'"),
        (dict(rows=[{"weights": "trained", "compression": 2, "accuracy": 0.5}]), "Write 'timing': 'after'"),
        (
            dict(model="lenet-300-100", state={"granularity": "kernel"}),
            r"cuts no layer .*kernels are of .*has shape \(300, 64\)\. Granularities that do: weight, 1",
        ),
        (dict(state={"granularity": "kernels"}), "Did you mean 'kernel'"),
        (dict(state={"rounds": 0}), "rounds is a whole number"),
        (dict(state={"compare": {"rounds": 0}}), "rounds is a whole number"),
        (dict(state={"compare": {"criterion": "snipp"}}), "Did you mean 'snip'"),
        (dict(state={"compare": {"compression": 5}}), "a key of compare is one of"),
        (dict(state={"compare": 5}), "compare is what of the setting differs"),
        (dict(state=[1]), "a state is a dict"),
        (dict(model=nn.ReLU()), "at least one weight of a linear, convolution"),
        (dict(model=nn.Linear(3, 10)), "Use data of the shape the model was made for"),
        (dict(rows=[{"compression": 2}]), "recorded rows have a column"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_exist_is_said_with_a_remedy(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        wb.explorers.playground(**arguments)


# The live face: threads, cancel, errors


def test_the_first_picture_is_there_and_a_slider_is_answered_at_once(playground: Any) -> None:
    explorer = playground(state={"criterion": "snip"})
    assert explorer.frame["sides"][0]["numbers"]["effective"] is not None
    assert explorer.frame["request"] == explorer.choices["request"]
    for compression in (1, 5, 100.0, 32670.0):
        request = ask(explorer, compression=compression)
        assert explorer.frame["request"] == request  # no waiting: a look-up
        assert explorer.frame["compression"] == compression
    assert explorer.errors == []


def test_a_new_criterion_is_scored_in_the_worker_and_a_pair_that_does_not_fit_is_corrected(playground: Any) -> None:
    explorer = playground()
    request = ask(explorer, criterion="grasp", compare=WAY | {"criterion": "snip"})
    until(lambda: explorer.frame["request"] == request)
    assert [side["criterion"] for side in explorer.frame["sides"]] == ["grasp", "snip"]
    request = ask(explorer, data="moons")
    until(lambda: explorer.frame["request"] == request)
    assert explorer.choices["network"] == "lenet-300-100"
    assert explorer.choices["layer"] == explorer.menu["layers"][1] == explorer.frame["sides"][0]["mask"]["layer"]
    assert explorer.errors == []


def test_training_adds_a_dot_a_seed_and_the_slider_answers_meanwhile(playground: Any) -> None:
    explorer = playground("moons")
    busy, times = threading.Event(), []

    def watch(change: Any) -> None:
        if change.new["busy"] == "training":
            times.append(time.monotonic())
            busy.set()

    RECIPES["moons", "lenet-300-100"] = Recipe(epochs=30, batch_size=64)
    explorer.observe(watch, "status")
    press(explorer, "train")
    assert busy.wait(5)
    answered = 0
    while explorer.worker.busy("training"):
        request = ask(explorer, compression=2.0 + answered % 7)
        answered += explorer.frame["request"] == request
    assert answered > 5
    assert len(times) < 3 + 10 * (times[-1] - times[0])  # at most 10 Hz
    RECIPES["moons", "lenet-300-100"] = Recipe(epochs=1, batch_size=64)
    ask(explorer, compression=30.0)
    for seeds in ([0], [0, 1]):
        press(explorer, "train")
        until(lambda: not explorer.worker.busy("training"))
        at_30 = [p for p in explorer.curve if p["compression"] == 30]
        assert [p["seed"] for p in at_30] == seeds
    assert explorer.baseline == {"dense": None, "split": "val"}
    ask(explorer, compression=1.0)
    press(explorer, "train")
    until(lambda: explorer.baseline["dense"] is not None)
    dense = [p["accuracy"] for p in explorer.curve if p["compression"] == 1]
    assert explorer.baseline["dense"] == dense[0]
    ask(explorer, allocation="layer")
    until(lambda: explorer.curve == [])  # other allocation, other picture
    ask(explorer, allocation="global")
    until(lambda: len(explorer.curve) == 4)
    press(explorer, "clear_points")
    assert explorer.curve == []
    assert explorer.errors == []


def test_a_trained_point_is_what_the_library_trains(playground: Any) -> None:
    explorer = playground("moons", state={"criterion": "snip", "compression": 10})
    press(explorer, "train")
    until(lambda: explorer.curve)
    task = wb.load("moons")
    model = wb.make("lenet-300-100", task, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        masks = wb.keep_top(wb.score(model, task.batch(256, seed=0), "snip"), 0.9)
        wb.train(model, task, masks=masks, seed=0)
    finally:
        torch.set_num_threads(threads)
    assert explorer.curve[0]["accuracy"] == wb.evaluate(model, task)["accuracy"]
    assert explorer.curve[0]["kind"] == "live"


def test_two_settings_are_trained_one_after_the_other_and_each_is_named(playground: Any) -> None:
    pinned = {"timing": "after", "criterion": "snip", "allocation": "layer", "rounds": 5}
    explorer = playground("moons", state={"criterion": "snip", "compression": 10, "compare": pinned}, rows=[])
    assert [side["name"] for side in explorer.frame["sides"]] == ["snip"]  # the pinned one is being trained
    until(lambda: len(explorer.frame["sides"]) == 2)
    assert [side["name"] for side in explorer.frame["sides"]] == ["snip", "snip-5, after, layer"]
    press(explorer, "train")
    until(lambda: not explorer.worker.busy("training"))
    assert [point["name"] for point in explorer.curve] == ["snip", "snip-5, after, layer"]
    one, other = (f"{100 * point['accuracy']:.1f} %" for point in explorer.curve)
    assert explorer.status["message"] == (
        f"snip, 10x, seed 0: validation accuracy {one}; snip-5, after, layer, 10x, seed 0: validation accuracy {other}"
    )
    ask(explorer, compare=None)
    until(lambda: [point["name"] for point in explorer.curve] == ["snip"])
    assert explorer.errors == []


def test_the_code_of_a_trained_and_an_untrained_setting_gives_both() -> None:
    own = Session({"moons": wb.load("moons", device="cpu")}, {})
    pinned = {"timing": "before", "criterion": "magnitude", "allocation": "layer", "rounds": 1}
    choices = Choices("moons", "lenet-300-100", timing="after", criterion="snip", compression=30, compare=pinned)
    fitted, frame = settle(own, choices)
    threads, space = torch.get_num_threads(), {}
    try:
        for part, side in zip(code.lines(own, fitted).split("wb.layers(")[:2], frame["sides"], strict=True):
            exec("(" + part if part.startswith("model, masks") else part, space)
            masks: Any = space["masks"]
            assert [layer["kept"] for layer in side["layers"]] == [int(mask.sum()) for mask in masks.values()]
    finally:
        torch.set_num_threads(threads)


def test_cancel_answers_at_once_and_leaves_no_point(playground: Any) -> None:
    RECIPES["moons", "lenet-300-100"] = Recipe(epochs=2000, batch_size=64)
    explorer = playground("moons")
    press(explorer, "train")
    until(lambda: explorer.status["progress"] > 0)
    start = time.monotonic()
    press(explorer, "cancel")
    assert time.monotonic() - start < 0.2
    assert explorer.status["busy"] == ""
    assert not explorer.worker.busy("training")
    time.sleep(0.3)
    assert explorer.status["busy"] == ""  # nothing speaks of the training any more
    assert explorer.curve == []
    ask(explorer, timing="after")
    until(lambda: explorer.status["busy"] == "training")
    press(explorer, "cancel")
    assert explorer.choices["timing"] == "before"  # back to what the picture shows
    assert explorer.errors == []


def test_trained_weights_train_in_the_worker(playground: Any) -> None:
    explorer = playground("moons", state={"timing": "after"})
    assert explorer.frame["sides"]  # the untrained network until then
    until(lambda: explorer.frame["request"] == explorer.choices["request"])
    assert explorer.choices["timing"] == "after"
    assert explorer.baseline["dense"] is not None
    assert explorer.errors == []


def test_of_iterated_requests_the_latest_wins(playground: Any) -> None:
    explorer = playground(state={"criterion": "synflow"})
    shown: list[int] = []
    explorer.observe(lambda change: shown.append(change.new["request"]), "frame")
    for compression in (2.0, 3.0, 4.0, 5.0, 6.0, 7.0):
        request = ask(explorer, compression=compression, rounds=100)
    until(lambda: explorer.frame["request"] == request)
    assert set(shown) == {request}
    masks = wb.find_masks(wb.make("vgg", wb.load("digits")), wb.load("digits").batch(256), "synflow", 6 / 7, rounds=100)
    counts = [layer["kept"] for layer in explorer.frame["sides"][0]["layers"]]
    assert sum(counts) == sum(int(m.sum()) for m in masks.values())
    request = ask(explorer, compression=7.0)
    assert explorer.frame["request"] == request  # found before: a look-up
    assert explorer.errors == []


def test_exceptions_are_shown_and_kept_and_the_explorer_stays_usable(playground: Any) -> None:
    @wb.register_criterion("broken", needs="nothing")
    def broken(model: nn.Module, batch: Any, **_: Any) -> wb.Scores:
        raise ZeroDivisionError("planted")

    try:
        explorer = playground("moons")
        ask(explorer, criterion="broken")
        until(lambda: explorer.errors)
        assert explorer.status["error"] == "ZeroDivisionError: planted"
        assert "ZeroDivisionError: planted" in explorer.errors[0]
        until(lambda: explorer.status["busy"] == "")
        request = ask(explorer, criterion="magnitude")
        assert explorer.frame["request"] == request
        assert explorer.status["error"] == ""
        RECIPES["moons", "lenet-300-100"] = Recipe(epochs=2000, batch_size=64)
        press(explorer, "train")
        ask(explorer, criterion="broken")
        until(lambda: len(explorer.errors) == 2)
        done = explorer.status["progress"]
        until(lambda: explorer.status["progress"] > done)
        assert explorer.status["error"] == "ZeroDivisionError: planted"  # training goes on and does not hide it
        press(explorer, "cancel")
    finally:
        unregister_criterion("broken")
    press(explorer, "dance")
    assert "known kind" in explorer.status["error"]
    ask(explorer, compression=-1)
    assert "compression is prunable weights / kept weights" in explorer.status["error"]
    request = ask(explorer, compression=3.0)
    assert explorer.frame["request"] == request
    assert len(explorer.errors) == 4


def test_an_interrupted_kernel_leaves_it_usable(playground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = playground("moons")

    def interrupted(choices: Choices) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(explorer.session, "ready", interrupted)
        ask(explorer, compression=3.0)
    assert explorer.status["error"] == "The kernel was interrupted."
    request = ask(explorer, compression=4.0)
    assert explorer.frame["request"] == request
    assert explorer.lock.acquire(timeout=0)
    explorer.lock.release()


class Routed:
    """A channel as ipykernel 7.4 makes it: what the page sends goes to the shell that published last."""

    def _reply_subshell_for(self, data: Any, default: Any) -> Any:
        return "busy main shell"


class Fixed(Routed):
    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("fixed")


class Newer:
    def _reply_subshell_for(self, data: Any, default: Any, message: Any) -> Any:
        return "as it likes"


def test_the_page_is_answered_where_it_asks_in_the_one_version_of_ipykernel_that_overrules_it() -> None:
    from workbench.explorers.base import answer_where_asked

    routed, fixed, newer, older = Routed(), Fixed(), Newer(), SimpleNamespace()
    odd = [SimpleNamespace(_reply_subshell_for=value) for value in (None, "subshell", max)]
    for comm in (routed, fixed, newer, older, *odd, None):
        answer_where_asked(comm)
    assert routed._reply_subshell_for({}, "subshell") == "subshell"
    assert routed._reply_subshell_for(data={}, default=None) is None
    assert fixed._reply_subshell_for({}, "subshell") == "busy main shell"
    assert newer._reply_subshell_for({}, "subshell", {}) == "as it likes"
    assert vars(older) == {}
    assert [comm._reply_subshell_for for comm in odd] == [None, "subshell", max]


def test_an_error_that_comes_again_is_news_again(playground: Any) -> None:
    explorer = playground("moons")
    said: list[str] = []
    explorer.observe(lambda change: said.append(change.new["error"]), "status")
    for _ in range(2):
        press(explorer, "load_state", state=[1])
        press(explorer, "alive")
    assert [error[:24] for error in said] == ["TypeError: a state is a ", "", "TypeError: a state is a "]


def test_callbacks_may_run_in_another_thread(playground: Any) -> None:
    explorer = playground("moons")
    press(explorer, "train")
    thread = threading.Thread(target=lambda: [ask(explorer, compression=float(c)) for c in range(1, 60)])
    thread.start()
    thread.join(20)
    assert explorer.frame["request"] == explorer.choices["request"]
    until(lambda: not explorer.worker.busy("training"))
    assert explorer.errors == []


def test_frames_computed_ahead_answer_for_the_present_setting_only(playground: Any) -> None:
    explorer = playground("moons", precompute=True)
    until(lambda: explorer.frames)
    (ahead,) = explorer.frames["settings"]
    assert (ahead["criterion"], ahead["rounds"], ahead["stops"]) == ("magnitude", 1, explorer.menu["stops"])
    third = explorer.session.frame(check_state(explorer.choices | {"compression": ahead["stops"][3]}), measure=True)
    assert ahead["sides"][3] == third["sides"][0]
    assert explorer.frames["request"] == explorer.choices["request"]
    request = ask(explorer, criterion="snip")
    until(lambda: explorer.frame["request"] == request)
    until(lambda: explorer.frames and explorer.frames["request"] == request)
    assert [ahead["criterion"] for ahead in explorer.frames["settings"]] == ["snip"]
    ask(explorer, compression=7.0)
    ask(explorer, compare=WAY | {"criterion": "snip"})  # pinned as it is: nothing else to show yet
    assert explorer.frames["request"] == request
    assert explorer.errors == []


def test_a_criterion_that_cannot_score_the_next_network_gives_way(playground: Any) -> None:
    """PHEW walks through layers that follow one another; a residual network's do not."""
    explorer = playground("digits", "lenet-300-100", state={"criterion": "phew"})
    ask(explorer, network="resnet-20")
    until(lambda: explorer.frame["request"] == explorer.choices["request"] == 1)
    assert (explorer.choices["criterion"], "phew" in explorer.menu["criteria"]) == ("magnitude", False)
    assert explorer.status["message"] == "phew cannot score resnet-20"
    assert explorer.errors == []


# State, code, files


def test_state_goes_round(playground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"criterion": "snip", "compare": {"criterion": "random", "rounds": 5}, "compression": 33.3, "seed": 2}
    explorer = playground(state=start)
    state = json.loads(json.dumps(explorer.state()))
    assert check_state(state).state() == state
    assert state["compare"] == WAY | {"criterion": "random", "rounds": 5}
    assert check_state({"criterion": "snip", "compare": "random"}).compare == WAY | {"criterion": "random"}
    other = playground(state=state)
    assert other.state() == state
    assert other.frame["sides"] == explorer.frame["sides"]
    other.from_state({"compression": 5, "compare": None})
    assert (other.frame["compression"], len(other.frame["sides"])) == (5.0, 1)
    messages = sent(other, monkeypatch)
    press(other, "load_state", state={"criterion": "snipp"})
    assert "Did you mean 'snip'" in other.status["error"]
    assert messages == []
    with pytest.raises(ValueError, match="layer is one of"):
        other.from_state({"layer": "nowhere"})
    press(other, "load_state", state=state)
    assert other.state() == state
    assert messages == [{"kind": "loaded"}]  # so that the page closes the panel


def test_text_panels_and_files(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: wb.Task
) -> None:
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    explorer = playground(state={"criterion": "snip", "compression": 50})
    messages = sent(explorer, monkeypatch)
    press(explorer, "code")
    assert "wb.keep_top(scores, sparsity=1 - 1 / 50.0" in messages[-1]["text"]
    press(explorer, "state")
    assert messages[-1]["editable"]
    assert json.loads(messages[-1]["text"]) == explorer.state()
    for i, kind in enumerate(("table", "masks", "figure"), start=3):
        press(explorer, f"save_{kind}")
        until(lambda i=i: len(messages) == i)
    names = [message["text"].split()[-1] for message in messages[2:]]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "playground-digits-vgg-before-snip-global-1-round-50x-seed-0-layers.csv"
    model = wb.make("vgg", digits, seed=0)
    saved = load_file(names[1])
    masks = {name: saved[name] for name in wb.prunable(model)}
    counts = {layer["name"]: layer["kept"] for layer in explorer.frame["sides"][0]["layers"]}
    assert {name: int(mask.sum()) for name, mask in masks.items()} == counts
    table = wb.layers(model, masks, digits.batch(1).inputs)
    assert pd.read_csv(names[0]).drop(columns="state").to_csv(index=False) == table.to_csv(index=False)
    assert (tmp_path / names[2]).read_bytes().startswith(b"\x89PNG")
    assert explorer.errors == []


def saved(explorer: Any, monkeypatch: pytest.MonkeyPatch, *kinds: str) -> list[str]:
    """Press Save buttons one right after another; the notes they are answered with."""
    messages, before = sent(explorer, monkeypatch), len(explorer.errors)
    for kind in kinds:
        press(explorer, f"save_{kind}")
    until(lambda: len(messages) + len(explorer.errors) - before >= len(kinds))
    return [message["text"] for message in messages]


def inside(path: Path) -> dict[str, Any]:
    """The setting in a saved file, as its reader gives it."""
    from PIL import Image
    from safetensors import safe_open

    if path.suffix == ".csv":
        text = pd.read_csv(path)["state"][0]
    elif path.suffix == ".png":
        text = Image.open(path).text["state"]  # type: ignore[attr-defined]
    else:
        with safe_open(path, "pt") as file:
            text = file.metadata()["state"]
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_saved_file_holds_its_setting_and_is_never_written_over(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer = playground("moons")
    files: dict[str, bytes] = {}
    changes: list[dict[str, Any]] = [
        {}, {"compression": 20.001}, {"compression": 20.0, "seed": 1}, {"allocation": "layer"}, {"rounds": 5},
        {"criterion": "snip"}, {"timing": "after"}, {"data": "circles"},
    ]  # fmt: skip
    for change in changes:
        request = ask(explorer, **change)
        until(lambda request=request: explorer.frame["request"] == request)
        until(
            lambda: all(side["numbers"]["effective"] is not None for side in explorer.frame["sides"])
        )  # measured later
        kinds = ["table", "masks", "figure"][: 3 if len(files) < 6 else 2]  # a figure takes a second
        notes = saved(explorer, monkeypatch, *kinds)
        assert len(notes) == len(kinds)  # none gave way to the next
        assert saved(explorer, monkeypatch, *kinds) == ["Already saved: " + note.split()[-1] for note in notes]
        new = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert new.items() >= files.items()
        assert sorted(new.keys() - files.keys()) == sorted(note.split()[-1] for note in notes)
        for name in new.keys() - files.keys():
            state = explorer.state()
            assert state.items() >= inside(tmp_path / name).items()
            assert check_state(inside(tmp_path / name)).setting().items() >= {
                key: state[key] for key in ("data", "network", "timing", "criterion", "allocation", "rounds", "seed")
            }.items()  # fmt: skip
        files = new
    assert explorer.errors == []


class Sums(nn.Module):
    """A network whose multiply-adds are not counted, through which not all paths are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 32), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b((x[:, None] * self.a.weight).sum(-1).topk(8, 1).values)


def test_a_network_that_hides_its_costs_and_paths_is_shown_without_them(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for face in wb.explorers.FACES:
        monkeypatch.setenv("WORKBENCH_FACE", face)
        shown = wb.explorers.playground("moons", Sums(), {"compression": 2})
        if face == "live":
            request.addfinalizer(shown.close)
        numbers = shown.frame["sides"][0]["numbers"]
        assert (numbers["effective"], numbers["macs"], numbers["macs_dense"]) == (None, None, None)
        assert numbers["kept"] == 40
        assert not list(shown.errors)


def test_other_content_under_the_same_name_is_kept(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer = playground("moons")
    names = []
    for seed in (0, 1):  # two networks of one name
        torch.manual_seed(seed)
        own = playground("moons", nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 2)))
        names += [note.split()[-1] for note in saved(own, monkeypatch, "masks")]
    assert names[1] == names[0].replace(".safetensors", "-2.safetensors")
    mine = tmp_path / saved(explorer, monkeypatch, "table")[0].split()[-1]
    mine.write_text("notes of my own")
    assert saved(explorer, monkeypatch, "table") == [f"Saved the layer table as {mine.stem}-2.csv"]
    assert mine.read_text() == "notes of my own"
    press(explorer, "train")
    saved(explorer, monkeypatch, "figure")
    until(lambda: explorer.curve)
    assert saved(explorer, monkeypatch, "figure")[0].endswith("-2.png")  # one more point in the picture
    (tmp_path / f"{mine.stem}-3.csv").mkdir()
    mine.with_name(f"{mine.stem}-2.csv").write_text("and again")
    assert saved(explorer, monkeypatch, "table")[0].endswith("-4.csv")


@pytest.mark.filterwarnings("ignore:Glyph")  # a figure's font has not every script
@pytest.mark.parametrize("name", ["a/b", "..", "C:\\data", "what? *", "line\nbreak", "\u6570\u636e", "x" * 300, "/"])
def test_names_that_no_file_may_have_can_be_saved(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    x = torch.randn(200, 6)
    y = (x[:, 0] > 0).long()
    task = wb.Task.from_arrays(x, y, x, y, name=name, device="cpu")
    model = nn.Sequential(OrderedDict({name.replace(".", "-"): nn.Linear(6, 2)}))  # no dot: torch's own rule
    model.network = name  # type: ignore[assignment]
    explorer = playground(task, model, {"compare": {"criterion": "random"}})
    assert len(saved(explorer, monkeypatch, "table", "masks", "figure")) == 3
    assert explorer.errors == []
    files = list(tmp_path.iterdir())
    assert len(files) == 5  # of two criteria two tables and two sets of masks
    for path in files:
        assert re.fullmatch(r"playground-[\w.+-]+", path.name)
        assert inside(path)["data"] == name


def test_a_save_that_fails_says_so_and_the_next_one_is_made(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    explorer = playground("moons")
    assert saved(explorer, monkeypatch, "table") == []
    assert "FileNotFoundError" in explorer.status["error"]
    monkeypatch.chdir(tmp_path)
    messages = sent(explorer, monkeypatch)
    press(explorer, "save_masks")
    press(explorer, "cancel")  # of a training, not of what is being saved
    until(lambda: messages)
    assert "-masks.safetensors" in messages[0]["text"]


def test_two_settings_are_saved_as_two_tables_that_say_which(
    playground: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"criterion": "snip", "compare": {"criterion": "random", "rounds": 5}, "compression": 9}
    explorer = playground("moons", state=state)
    note, figure = saved(explorer, monkeypatch, "table", "figure")
    names = note.removeprefix("Saved the layer table as ").split(" and ")
    for name, side in zip(names, explorer.frame["sides"], strict=True):
        assert check_state(inside(tmp_path / name)).name == side["name"]
        assert pd.read_csv(name)["kept"].tolist() == [layer["kept"] for layer in side["layers"]]
    assert "-snip-global-1-round-9x-seed-0-vs-random-5-" in figure
    assert inside(tmp_path / figure.split()[-1]) == explorer.state()


# The figure


FIGURES = [
    Choices(criterion="synflow", compare=WAY | {"criterion": "snip"}, compression=5000),
    Choices(criterion="snip", compare=WAY | {"criterion": "synflow"}, compression=50, rounds=5),
    Choices(criterion="snip", compare=WAY | {"criterion": "snip", "allocation": "layer", "rounds": 5}, compression=50),
    Choices(criterion="random", compression=20),
    Choices("moons", "lenet-300-100", criterion="obd", compare=WAY | {"criterion": "fisher"}, compression=3),
    Choices(network="resnet-20", criterion="synflow", compare=WAY | {"criterion": "grasp"}, compression=300),
    Choices(network="resnet-20", criterion="magnitude", compression=2),
    Choices(granularity="pattern", compare=WAY | {"granularity": "channel"}, compression=20),
]


@pytest.mark.parametrize("choices", FIGURES, ids=str)
def test_in_the_figure_no_words_cover_others_and_each_criterion_has_its_colour(
    session: Session, choices: Choices
) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    from workbench.explorers.playground import picture

    fitted, frame = settle(session, choices)
    session.points.add(fitted, 0.5)
    try:
        drawn = picture.figure(session, fitted, frame)
    finally:
        session.points.clear()
    drawn.canvas.draw()
    hidden = {id(text) for ax in drawn.findobj(Axis) for text in ax.findobj(Text) if not shown_on(ax, text)}
    words = [t for t in drawn.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in hidden]
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in words]
    covered = [(a, b) for (a, one), (b, two) in itertools.combinations(boxes, 2) if one.overlaps(two)]
    assert covered == []
    outside = [a for a, box in boxes if box.x0 < -2 or box.x1 > drawn.bbox.x1 + 2 or box.y0 < -2]
    assert outside == []
    looks = session.looks()
    axes = {ax.get_title(loc="left").partition(";")[0]: ax for ax in drawn.get_axes()}
    legend = axes["Layers"].get_legend()
    bars = {
        t.get_text(): to_hex(p.get_facecolor()) for t, p in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    for i, side in enumerate(fitted.sides):
        look, twin = looks[side.criterion], i > 0 and side.criterion == fitted.criterion
        colour = (look.dark if twin else look.colour).lower()
        assert bars[side.name] == colour
        assert to_hex(axes[f"Scores: {side.name}"].patches[0].get_facecolor()) == colour
    line = next(line for line in axes["Trade-off"].get_lines() if str(line.get_label()).startswith(f"{fitted.name}:"))
    assert to_hex(line.get_color()) == looks[fitted.criterion].colour.lower()


def shown_on(axis: Axis, text: Any) -> bool:
    """Whether a tick's label lies in the axis' range."""
    low, high = sorted(axis.get_view_interval())
    ticks = {id(t.label1): t.get_loc() for t in [*axis.get_major_ticks(), *axis.get_minor_ticks()]}
    return id(text) not in ticks or low <= ticks[id(text)] <= high


def test_recorded_rows_stand_beside_live_points(playground: Any) -> None:
    rows = pd.DataFrame({"compression": [1, 10], "accuracy": [0.99, 0.9], "criterion": "snip", "rounds": 1.0})
    explorer = playground("moons", rows=rows)
    assert [point["kind"] for point in explorer.curve] == ["recorded", "recorded"]
    assert explorer.baseline == {"dense": 0.99, "split": ""}
    press(explorer, "train")
    until(lambda: len(explorer.curve) == 3)
    press(explorer, "clear_points")
    assert len(explorer.curve) == 2


def test_the_shipped_rows_stand_there_from_the_start_and_are_told_from_what_is_trained(playground: Any) -> None:
    explorer = playground(state={"criterion": "snip", "compression": 10})
    rows = wb.experiments.recorded("headline")
    at_10 = rows[(rows["criterion"] == "snip") & (rows["compression"] == 10)]["accuracy"].tolist()
    shown = [p for p in explorer.curve if (p["criterion"], p["rounds"], p["compression"]) == ("snip", 1, 10)]
    assert [point["accuracy"] for point in shown] == at_10
    assert {(point["kind"], point["split"]) for point in explorer.curve} == {("recorded", "test")}
    dense = rows[rows["compression"] == 1]["accuracy"].mean()
    assert explorer.baseline == {"dense": pytest.approx(dense), "split": "test"}
    points, choices = explorer.session.points, check_state(explorer.state())
    assert points.next_seed(0, choices) == 0  # a run on test data is no run on validation data
    points.add(replace(choices, compression=1.0), 0.5)
    assert points.baseline(choices) == explorer.baseline  # never the mean of both; test data where points of it stand
    points.clear()
    points.add_dense(choices, 0.5)
    assert points.baseline(replace(choices, allocation="nowhere")) == {"dense": 0.5, "split": "val"}
    points.add(choices, 0.5)
    assert [p["split"] for p in points.curve(choices) if p["kind"] == "live"] == ["val"]
    assert not points.curve(replace(choices, network="lenet-5"))
    trained = points.curve(replace(choices, timing="after"))
    assert {point["criterion"] for point in trained} == {"grasp", "magnitude", "snip", "synflow"}
    assert playground(rows=[], name="none").curve == []


def test_a_split_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="the split of a recorded row is one of"):
        wb.explorers.playground("moons", rows=[{"compression": 2, "accuracy": 0.5, "split": "train"}])


# Three faces


def traits(page: str) -> dict[str, Any]:
    """The traits in a page of the site face."""
    found: dict[str, Any] = json.loads(re.search(r"const traits = (\{.*\});\n", page)[1])  # type: ignore[index]
    return found


def bundle(explorer: Any) -> dict[str, Any]:
    shown = explorer._repr_mimebundle_()
    return shown[0] if isinstance(shown, tuple) else shown


@pytest.mark.parametrize(
    "state",
    [
        {},
        {
            "criterion": "snip",
            "compare": {"criterion": "synflow", "allocation": "layer"},
            "compression": 400,
            "rounds": 5,
        },
    ],
)
def test_three_faces_carry_the_same_numbers(playground: Any, monkeypatch: pytest.MonkeyPatch, state: Any) -> None:
    numbers = {}
    for face in wb.explorers.FACES:
        monkeypatch.setenv("WORKBENCH_FACE", face)
        explorer = wb.explorers.playground("digits", "lenet-300-100", state)
        shown = bundle(explorer)
        numbers[face] = json.loads(json.dumps(shown[NUMBERS_MIME]))
        if face == "live":
            assert "application/vnd.jupyter.widget-view+json" in shown
            explorer.close()
    assert numbers["live"] == numbers["picture"] == numbers["site"]
    assert numbers["live"]["sides"][0]["kept"] > 0


def test_the_picture_says_in_words_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "picture")
    shown = wb.explorers.playground(state={"criterion": "synflow", "compression": 5000})
    html = bundle(shown)["text/html"]
    assert base64.b64decode(bundle(shown)["image/png"]).startswith(b"\x89PNG")
    assert re.search(r'<img alt="[^"]*layers alive', html)
    assert "<figcaption>" in html
    text = bundle(shown)["text/plain"]
    assert "Alarm: " in text
    for name in wb.prunable(wb.make("vgg", wb.load("digits"))):
        assert name in text


def test_the_page_needs_nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    pages = [bundle(wb.explorers.playground("moons"))["text/html"] for _ in range(2)]
    ids = [re.search(r'<div id="(wb-\w+)"', page) for page in pages]
    assert ids[0]
    assert ids[1]
    assert ids[0][1] != ids[1][1]
    stored = traits(pages[0])
    first = stored["frames"]["settings"][0]
    assert first["criterion"] == "magnitude"
    assert first["stops"] == stored["menu"]["stops"]
    assert len(first["sides"]) == len(first["stops"])
    assert stored["menu"]["face"] == "site"
    rest = re.sub(r"http://www\.w3\.org/\S+", "", pages[0])  # names of SVG, nothing that is fetched
    assert not re.search(r"https?://|<link|src=|@import|\bfetch\(|import\(", rest)
    assert "export default" not in pages[0]


def test_a_page_holds_other_criteria_and_rounds_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_ahead, "SECONDS", 600.0)
    session = Session({"moons": wb.load("moons", device="cpu")}, {}, ["snip", "magnitude", "fisher"])
    choices = Choices("moons", "lenet-300-100", criterion="snip", rounds=5, compression=33.3)
    fitted, frame = settle(session, choices)
    made = made_ahead.settings(session, fitted)
    both = replace(fitted, compare=WAY | {"criterion": "magnitude", "allocation": "layer"})
    ways = [Choices(**{key: one[key] for key in WAY}).name for one in made_ahead.settings(session, both)]
    assert ways[:3] == ["snip-5", "magnitude, layer", "snip"]
    assert len(ways) == len(set(ways)) == 7 + 2 * 2  # blocks and channels of both criteria: n:m is one cut
    found = {(one["criterion"], one["rounds"]): one for one in made if one["granularity"] == "weight"}
    assert list(found) == [
        ("snip", 5), ("snip", 1), ("snip", 20), ("magnitude", 1), ("magnitude", 5), ("magnitude", 20),
    ]  # fmt: skip
    assert 33.3 in found["magnitude", 5]["stops"]
    assert set(found["magnitude", 5]["stops"]) < set(found["snip", 5]["stops"])
    shown = found["snip", 5]["sides"][found["snip", 5]["stops"].index(33.3)]
    assert shown == frame["sides"][0]
    far = found["magnitude", 20]["sides"][found["magnitude", 20]["stops"].index(33.3)]
    _, exact = settle(session, replace(fitted, criterion="magnitude", rounds=20))
    assert far["numbers"] == exact["sides"][0]["numbers"]
    assert (far["mask"]["rows"], far["mask"]["cols"]) <= (frames.ROWS // 2, frames.COLUMNS // 2)
    sizes = [len(json.dumps(one)) for one in made]
    monkeypatch.setattr(made_ahead, "BYTES", sizes[0] + int(1.5 * sizes[1]))
    small = [one for one in made_ahead.settings(session, fitted) if one["granularity"] == "weight"]
    assert [(one["criterion"], one["rounds"]) for one in small] == list(found)[:2]
    monkeypatch.setattr(made_ahead, "SECONDS", 0.0)
    (alone,) = made_ahead.settings(session, fitted)  # the chosen one is always there, with fewer stops
    assert alone["stops"] == found["magnitude", 5]["stops"]


def test_an_unknown_face_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "pictures")
    with pytest.raises(ValueError, match="WORKBENCH_FACE is one of live, picture, site; got 'pictures'"):
        wb.explorers.playground()


# A real kernel


RERUN = """
import gc, psutil
import workbench as wb
from ipywidgets.widgets.widget import _instances
p = wb.explorers.playground("digits", "lenet-300-100", {"criterion": "snip"})
gc.collect()
print(len(_instances), psutil.Process().memory_info().rss // 2**20, len(p.errors))
"""
LEFT = """
import time
for _ in range(100):
    gc.collect()
    left = sum(type(o).__name__ == "Playground" for o in gc.get_objects())
    if left == 1:
        break
    time.sleep(0.1)
print(left)
"""


@pytest.fixture(scope="module")
def kernel() -> Any:
    """`run(code)` in a real kernel, returning what was printed; `run.interrupt()` is the stop button."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")

    def run(code: str) -> str:
        printed: list[str] = []
        reply = client.execute_interactive(
            code, output_hook=lambda message: printed.append(message["content"].get("text", "")), timeout=120
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed).strip()

    run.interrupt = manager.interrupt_kernel  # type: ignore[attr-defined]
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_running_a_cell_fifty_times_leaves_one_explorer(kernel: Any) -> None:
    seen = [tuple(int(word) for word in kernel(RERUN).split()) for _ in range(50)]
    assert {(count, errors) for count, _, errors in seen} == {(2, 0)}  # the widget and its layout
    assert seen[-1][1] - seen[4][1] < 20  # MB; the first runs also import and warm up
    assert kernel(LEFT) == "1"  # the threads of the others have ended too
    kernel(RERUN + "# another cell")
    assert kernel("print(len(_instances))") == "4"  # another cell's explorer stays beside it
    assert kernel("route = getattr(p.comm, '_reply_subshell_for', lambda *_: 5)\nprint(route({}, 5))") == "5"
    kernel("p = wb.explorers.playground('moons', name='mine')")
    kernel("p = wb.explorers.playground('circles', name='mine')")
    assert kernel("print(len(_instances))") == "6"


def test_an_interrupt_during_training_leaves_the_explorer_usable(kernel: Any) -> None:
    kernel("import workbench as wb, time\nq = wb.explorers.playground('moons', name='interrupted')")
    kernel("q._handle_custom_msg({'kind': 'train'}, [])\nwhile not q.status['busy']: time.sleep(0.01)")
    kernel.interrupt()
    kernel("q.set_state({'choices': {**q.choices, 'compression': 7.0, 'request': 9}})")
    assert kernel("print(q.frame['request'], q.errors)") == "9 []"
    kernel("while q.worker.busy('training'): time.sleep(0.01)")
    assert kernel("print(len(q.curve), q.errors)") == "1 []"


def test_a_name_has_one_look_in_every_face(playground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session({"moons": wb.load("moons", device="cpu")}, {})
    expected = {
        name: {"light": look.colour, "dark": look.dark, "paler": Look(look.dark, "").dark, "marker": look.marker}
        for name, look in session.looks().items()
    }
    assert {name: session.looks()[name] for name in wb.criteria()} == {n: LOOKS[n] for n in wb.criteria()}
    assert playground("moons").menu["looks"] == expected
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    page = bundle(wb.explorers.playground("moons", criteria=["snip", "obd"]))["text/html"]
    assert traits(page)["menu"]["looks"] == expected  # fewer on offer, the same looks
    # the figure draws with session.looks: see test_in_the_figure_...


def test_recorded_points_of_other_names_have_a_look(playground: Any) -> None:
    rows = [{"compression": 5, "accuracy": 0.9, "criterion": name} for name in ("mine", "snip")]
    shown = playground("moons", rows=rows).menu["looks"]
    assert shown["snip"]["light"] == LOOKS["snip"].colour
    assert shown["mine"] not in [look for name, look in shown.items() if name != "mine"]


def test_no_two_criteria_look_alike() -> None:
    shown = Session({"moons": wb.load("moons", device="cpu")}, {}).looks()
    assert len(set(shown.values())) == len(shown) >= len(wb.criteria())


def test_the_live_bundle_shows_without_widgets(playground: Any) -> None:
    """Plain papermill, nbconvert and GitHub show a picture and not the name of a class."""
    explorer = playground(model="lenet-300-100", state={"compression": 20})
    data = explorer._repr_mimebundle_()[0]
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "image/png"} <= set(data)
    assert data["text/plain"].startswith("Pruning playground: lenet-300-100 on digits")


class OutputFirst(nn.Module):
    """A network that registers its last layer first."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(16, 10), nn.Linear(64, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x.flatten(1))))


def test_channels_of_the_outputs_stay_wherever_they_are_registered(digits: wb.Task) -> None:
    session = Session({"digits": digits}, {"own": OutputFirst()})
    choices = Choices(network="own", granularity="channel", criterion="magnitude", compression=2)
    _, frame = settle(session, choices)
    assert list(session.units(choices)) == ["first.weight"]
    assert [layer["kept"] for layer in frame["sides"][0]["layers"]] == [160, 512]
