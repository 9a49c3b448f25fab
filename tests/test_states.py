"""A run that was stopped anywhere goes on bit for bit from its state."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.states import contents, copied


def images(augment: bool = False, n: int = 18) -> wb.Task:
    x = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return wb.Task.from_arrays(x, torch.arange(n) % 2, x[:4], [0, 1, 0, 1], val=2, augment=augment, device="cpu")


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Dropout(0.3), nn.ReLU(), nn.Linear(12, 2))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 2)
    )


def half_frozen() -> nn.Module:
    model = convolutions().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b, self.last = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.b.weight = self.a.weight
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return self.last(self.b(self.a(self.first(x.flatten(1))).relu()).relu()) * (1 + self.seen / 100)


class Counting(nn.Linear):
    """A layer with an extra state, which is no tensor."""

    calls = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(x) * (1 + self.calls / 100)


class Noisy(torch.optim.Optimizer):
    """Langevin steps with moments in float32 whatever the parameters are, a list and a number of its own."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.5)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state |= {"mean": torch.zeros_like(p, dtype=torch.float32), "count": 0, "pair": [0, None]}
                state["mean"].mul_(group["betas"][0]).add_(p.grad.float())
                state["count"] += 1
                state["pair"] = [state["count"], 1 / state["count"]]
                p.sub_((group["lr"] * (state["mean"] + state["pair"][1] * torch.randn(p.shape))).to(p.dtype))


def rewired(progress: wb.Progress) -> wb.Masks | None:
    """Random masks every second step, with weights in memory and a count of calls."""
    memory = progress.memory
    memory["calls"] = memory.get("calls", 0) + 1
    weights = wb.prunable(progress.model)
    means = memory.setdefault("mean", {name: torch.zeros(w.shape) for name, w in weights.items()})
    for name, weight in weights.items():
        if weight.grad is not None:
            means[name].mul_(0.5).add_(weight.grad.abs())
    if progress.step % 2:
        return None
    noise = {name: mean + torch.rand(mean.shape, generator=progress.generator) for name, mean in means.items()}
    return wb.keep_top(noise, 0.5 + memory["calls"] / 100)


def noisy_loss(model: nn.Module, batch: wb.Batch) -> Tensor:
    return functional.cross_entropy(model(batch.inputs + torch.rand_like(batch.inputs)), batch.targets)


def two_groups(parameters: Any) -> torch.optim.Optimizer:
    first, *others = parameters
    return torch.optim.RMSprop([{"params": [first], "lr": 0.003}, {"params": others}], lr=0.01, momentum=0.9)


CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "sgd": (perceptron, {}),
    "sgd without state": (perceptron, {"momentum": 0.0}),
    "adam": (perceptron, {"optimizer": "adam"}),
    "adamw, masks": (perceptron, {"optimizer": "adamw", "masks": 0.8}),
    "two groups": (perceptron, {"optimizer": two_groups}),
    "amsgrad": (perceptron, {"optimizer": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, foreach=True)}),
    "adagrad": (perceptron, {"optimizer": lambda p: torch.optim.Adagrad(p, lr=0.01)}),
    "augmented": (convolutions, {"augment": True}),
    "batch norm": (convolutions, {"optimizer": "adam", "masks": 0.5}),
    "channels last": (lambda: convolutions().to(memory_format=torch.channels_last), {"optimizer": "adam"}),
    "frozen norm": (half_frozen, {"masks": 0.5}),
    "bfloat16": (lambda: convolutions().bfloat16(), {"optimizer": "adamw"}),
    "bfloat16, own optimizer": (lambda: perceptron().bfloat16(), {"optimizer": lambda p: Noisy(p, lr=0.01)}),
    "extra state": (lambda: nn.Sequential(nn.Flatten(), Counting(64, 2)), {}),
    "tied": (Tied, {"optimizer": "adam", "masks": 0.5}),
    "update": (perceptron, {"update": rewired}),
    "update, adam, masks": (convolutions, {"update": rewired, "optimizer": "adam", "masks": 0.9}),
    "update, own optimizer": (Tied, {"update": rewired, "optimizer": lambda p: Noisy(p, lr=0.01)}),
    "loss": (perceptron, {"loss": noisy_loss}),
}


def begin(case: str, weights: int, **more: Any) -> tuple[nn.Module, Any]:
    make, options = CASES[case]
    options = {"epochs": 3, "batch_size": 4, "lr": 0.05, "seed": 7, **options, **more}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights)
        model = make()
    task = images(options.pop("augment", False))
    if "masks" in options:
        options["masks"] = wb.keep_top(wb.score(model, None, "random"), options["masks"])
    return model, wb.steps(model, task, **options)


def numbers(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


def content(state: wb.State, folder: Path) -> bytes:
    state.save(folder / "compared.safetensors")
    return (folder / "compared.safetensors").read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_bit_for_bit(case: str, tmp_path: Path) -> None:
    """12 steps in 3 epochs, stopped within and at the ends of them, gone on with in a model of other weights."""
    whole, run = begin(case, 0)
    rows, files, written = [], [], []
    for row in run:
        rows.append(numbers(row))
        files.append(tmp_path / f"{row['step']}.safetensors")
        row.state().save(files[-1])
        written.append(files[-1].read_bytes())
    assert len(rows) == 12
    assert len(set(written)) == 12
    end = contents(whole)
    for k in (1, 3, 4, 10, 12):
        model, run = begin(case, k, state=wb.State.load(files[k - 1]))
        for row, expected, bits in zip(run, rows[k:], written[k:], strict=True):
            assert numbers(row) == expected
            if row["step"] in (k + 1, 12):
                assert content(row.state(), tmp_path) == bits
        for name, value in contents(model).items():
            assert torch.equal(value, end[name]) if isinstance(value, Tensor) else value == end[name], name
        assert not any(module.training for module in model.modules())


KILLED = """
import json, os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import workbench as wb
from test_states import begin

def child(path, attempt, out):
    state = wb.State.load(path) if path.exists() else None
    for row in begin("update, adam, masks", attempt, state=state)[1]:
        row.state().save(path)
        out.write(json.dumps(row) + chr(10))
        out.flush()
    os._exit(0)

begin("update, adam, masks", 0)  # loads all that torch loads with the first optimizer, once
draw, path, status = random.Random(0), Path(sys.argv[2]), 1
for attempt in range(30):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        child(path, attempt, os.fdopen(writing, "w"))
    os.close(writing)
    last = draw.randint(1, 3) if attempt < 6 else 99
    for count, line in enumerate(os.fdopen(reading), start=1):
        print(line, end="")
        if count == last:
            os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    print(json.dumps({"status": status}))
    if not status:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_process_that_is_killed_goes_on(tmp_path: Path) -> None:
    """SIGKILL after random steps, wherever the process is by then; all that was told and what is left are one run."""
    path, rows, ends = tmp_path / "run.safetensors", {}, []
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(Path(__file__).parent), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300).stdout
    for row in map(json.loads, told.splitlines()):
        if "status" in row:
            ends.append(row["status"])
        else:
            assert numbers(row) == rows.setdefault(row["step"], numbers(row))
    assert ends[-1] == 0
    assert ends.count(signal.SIGKILL) == len(ends) - 1 >= 2
    whole = list(begin("update, adam, masks", 0)[1])
    assert all(row == numbers(whole[step - 1]) for step, row in rows.items())
    assert path.read_bytes() == content(whole[-1].state(), tmp_path)


def test_a_state_is_taken_in_the_loop_and_costs_nothing_else() -> None:
    _, run = begin("sgd", 0)
    first = next(run)
    state = first.state()
    kept = {name: value.clone() for name, value in state.weights.items()}
    second = next(run)
    assert all(torch.equal(value, kept[name]) for name, value in state.weights.items())
    with pytest.raises(ValueError, match=r"training has already left step 1. Call state\(\) in the body of the loop"):
        first.state()
    assert second.state().step == 2
    for copy in (pickle.loads(pickle.dumps(second)), json.loads(json.dumps(second))):
        assert type(copy) is dict
        assert copy == second
    rows = [second, *run]
    assert rows[-1].state().step == 12  # also after the end


def test_a_state_serves_twice() -> None:
    """Also as it was taken, without a file; going on leaves it as it is."""
    _, run = begin("update, adam, masks", 0)
    state = [next(run) for _ in range(5)][-1].state()
    ends = []
    for seed in (1, 2):
        model, rest = begin("update, adam, masks", seed, state=state)
        list(rest)
        ends.append(wb.snapshot(model))
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert state.step == 5
    assert state.memory["calls"] == 5


def test_a_state_on_the_way_can_be_stopped_again() -> None:
    whole = [numbers(row) for row in begin("batch norm", 0)[1]]
    _, run = begin("batch norm", 0, stop=3)
    rows, state = list(run), None
    for stop in (3, 4, 9, 12):
        state = rows[-1].state() if rows else state
        rows = list(begin("batch norm", 5, state=state, stop=stop)[1])
        if rows:
            assert {k: v for k, v in numbers(rows[-1]).items() if k != "val_accuracy"} == {
                k: v for k, v in whole[stop - 1].items() if k != "val_accuracy"
            }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"lr": 0.1},
            "lr was 0.05, is 0.1; lr of group 0 was 0.05, is 0.1. Pass the arguments with which",
        ),
        ({"epochs": 4}, "steps was 12, is 16"),
        ({"seed": 1}, "seed was 7, is 1"),
        ({"batch_size": 3}, "batch_size was 4, is 3"),
        ({"optimizer": "adam"}, "optimizer was SGD, is Adam"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5)}, "momentum of group 0 was 0.9, is 0.5"),
        (
            {"optimizer": lambda p: torch.optim.SGD(list(p)[::-1], lr=0.05, momentum=0.9)},
            "the optimizer's group and place of 1.weight was (0, 0), is (0, 3)",
        ),
        ({"update": rewired}, "an update was False, is True"),
        ({"loss": noisy_loss}, "a loss of its own was False, is True"),
        ({"stop": 1}, "start <= stop <= the schedule's 12 steps; got start=2 and stop=1"),
    ],
)
def test_a_state_of_another_run_is_refused(changes: dict[str, Any], words: str) -> None:
    _, run = begin("sgd", 0)
    next(run)
    state = next(run).state()
    with pytest.raises(ValueError) as found:
        begin("sgd", 1, state=state, **changes)
    assert words in str(found.value)


def test_a_state_of_another_model_or_other_data_is_refused() -> None:
    _, run = begin("sgd", 0)
    state = next(run).state()
    options: dict[str, Any] = {"epochs": 3, "batch_size": 4, "lr": 0.05, "seed": 7, "state": state}
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 13), nn.Dropout(0.3), nn.ReLU(), nn.Linear(13, 2))
    before = wb.snapshot(wide)
    with pytest.raises(ValueError, match=r"1.weight was float32 \(12, 64\), is float32 \(4,\); .* and \d+ more"):
        wb.steps(convolutions(), images(), **options)
    with pytest.raises(ValueError, match=r"1.weight was float32 \(12, 64\), is float32 \(13, 64\)"):
        wb.steps(wide, images(), **options)
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())
    with pytest.raises(ValueError, match=r"float32 \(12,\), is bfloat16 \(12,\)"):
        wb.steps(perceptron().bfloat16(), images(), **options)
    frozen = perceptron()
    frozen[1].weight.requires_grad_(False)
    with pytest.raises(
        ValueError,
        match=r"the optimizer's group and place of 1.weight was \(0, 0\), is nothing",
    ):
        wb.steps(frozen, images(), **options)
    with pytest.raises(ValueError, match="training samples was 16, is 17"):
        wb.steps(perceptron(), images(n=19), **options)
    with pytest.raises(TypeError, match=r"state is a record's state\(\) or wb.State.load\(path\); got PosixPath|str"):
        wb.steps(perceptron(), images(), **{**options, "state": "run.safetensors"})


def test_what_cannot_be_kept_is_told() -> None:
    def strange(progress: wb.Progress) -> None:
        progress.memory["seen"] = {"by": [torch.ones(1), {1, 2}]}

    _, run = begin("sgd", 0, update=strange)
    with pytest.raises(TypeError, match=r"memory\['seen'\]\['by'\]\[1\] is set. Keep it as one of these"):
        next(run).state()
    scale = nn.Parameter(torch.ones(()))
    _, run = begin("sgd", 0, optimizer=lambda p: torch.optim.SGD([*p, scale], lr=0.1))
    with pytest.raises(ValueError, match="the optimizer has other parameters too"):
        next(run).state()


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    _, run = begin("sgd", 0)
    whole = content(next(run).state(), tmp_path)
    path = tmp_path / "broken.safetensors"
    for bad in (b"", b"{}", whole[:-1], whole[:100], pickle.dumps({})):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"a complete file that State.save wrote; .*broken.safetensors is not"):
            wb.State.load(path)
    for metadata in (None, {"state": "{"}, {"state": '{"dict": [["step", 1]]}'}):
        save_file({"a": torch.ones(1)}, path, metadata)
        with pytest.raises(ValueError, match="is not"):
            wb.State.load(path)
    with pytest.raises(FileNotFoundError):
        wb.State.load(tmp_path / "nothing")


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = begin("sgd", 0)
    path = tmp_path / "folder" / "run.safetensors"
    next(run).state().save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        next(run).state().save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]


def test_plain_data_travels_whole(tmp_path: Path) -> None:
    memory = {
        "a/b": torch.arange(3),
        "a": {"b": torch.tensor(float("nan"))},
        "numbers": (1, 2.5, float("inf"), True, None, "text"),
        "lists": [[], (), {}, [(1,)]],
        "by number": {0: torch.zeros(0), -1: {"tensor": "state"}},
        "half": torch.ones(2, dtype=torch.bfloat16),
        "turned": torch.ones(2, 3).T,
    }
    state = wb.State(3, {}, {}, {}, copied(memory, "memory"), [], {})
    state.save(tmp_path / "state.safetensors")
    found = wb.State.load(tmp_path / "state.safetensors")
    assert repr(found) == repr(state)
    assert found.memory["half"].dtype == torch.bfloat16
