"""Forms of a pruned network: their outputs, bytes and memory by hand; ONNX files opened and compared."""

from __future__ import annotations

import copy
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import workbench as wb
from workbench.metrics.cost import in_turns
from workbench.removal import measure as room
from workbench.removal.forms import stored
from workbench.removal.kernels import Sparse, half, sparse, sparse_layers
from workbench.removal.measure import Peak, break_even, layer_speedup
from workbench.removal.onnx_file import export, export_int8, run, session


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)).eval()


EXAMPLE = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def halved(model: nn.Module) -> wb.Masks:
    scores = wb.score(model, None, "magnitude", granularity="channel", exclude=["4.weight"])
    return wb.keep_top(scores, 0.5, granularity="channel", model=model, example=EXAMPLE)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 3),
        nn.Linear(6, 3, bias=False),
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False),
    ],
)
def test_a_sparse_layer_computes_what_the_dense_one_does(layer: Any) -> None:
    with torch.no_grad():
        layer.weight.mul_(torch.rand_like(layer.weight) > 0.7)
        inputs = torch.randn(2, 5, 6) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 7, 9)
        assert torch.allclose(Sparse(layer)(inputs), layer(inputs), atol=1e-5)
    assert Sparse(layer).weight.values().numel() == int(layer.weight.count_nonzero())


def test_what_is_not_plain_stays_dense() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 1))
    kinds = [type(layer) for layer in sparse(model)]
    assert kinds == [nn.Conv2d, nn.Conv2d, Sparse]
    assert type(model[2]) is nn.Conv2d  # the model given stays


def test_bytes_by_hand() -> None:
    model = nn.Linear(9, 4)  # 36 weights, 4 biases
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[0, :5] = True
    found = stored(model, {"weight": mask})
    assert found["dense"] == 160
    assert found["bitmask"] == 5 + 5 * 4 + 16  # 36 bits are 5 bytes
    assert found["csr"] == 5 * 8 + 5 * 4 + 16
    assert found["compressed"] < found["dense"]
    assert stored(model, {})["bitmask"] == 160


def test_peak_by_hand() -> None:
    x = torch.zeros(1000)
    with torch.no_grad(), Peak([x]) as peak:
        a = x + 1  # 4000
        b = a[:500] + 1  # a view of a, and 2000 more
        del a
        c = b * 2  # a is gone: 4000
        b.mul_(3)  # in place
    assert peak.most == 6000
    assert peak.now == 4000
    assert len(c) == 500


def test_a_chain_holds_two_activations() -> None:
    layers = [nn.Linear(100, 100, bias=False) for _ in range(5)]
    model, x = nn.Sequential(*layers), torch.zeros(2, 100)
    with torch.no_grad(), Peak([*model.parameters(), x]) as peak:
        model(x)
    assert peak.most == 2 * 800


def test_the_table_of_costs() -> None:
    model = small()
    masks, before = halved(model), copy.deepcopy(model.state_dict())
    table = wb.costs(model, masks, EXAMPLE, batches=[1, 3], repeats=3)
    assert (
        table.groupby("batch")["form"].apply(list).tolist()
        == [["dense", "masked", "bitmask", "compressed", "csr", "removed", "onnx", "onnx int8"]] * 2
    )
    one = table[table["batch"] == 1].set_index("form")
    dense, half = 16 * 9 * 8 + 1280, 16 * 9 * 4
    assert one["macs"].to_dict() == {
        **dict.fromkeys(("dense", "masked"), dense),
        **dict.fromkeys(("bitmask", "compressed", "csr"), half + 1280),  # the linear layer has no mask
        **dict.fromkeys(("removed", "onnx", "onnx int8"), half + 640),
    }
    assert one.loc["dense", "parameters"] == 8 * 9 + 8 + 16 + 1290
    assert one.loc["masked", "parameters"] == one.loc["dense", "parameters"] - 4 * 12
    assert one.loc["removed", "parameters"] == 4 * 12 + 650
    assert one.loc["removed", "bytes"] < one.loc["bitmask", "bytes"] < one.loc["dense", "bytes"]
    assert table["activation_bytes"].isna().sum() == 2 * 4
    assert (table.loc[table["form"] == "dense", "speedup"] == 1).all()
    assert not table.attrs["left_out"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_picture_of_costs_has_a_bar_for_each_form_that_was_measured() -> None:
    seconds = {"dense": 0.004, "bitmask": math.nan, "removed": 0.001}
    rows = [{"form": f, "batch": 8, "seconds": s, "low": s / 2, "high": 2 * s} for f, s in seconds.items()]
    ax = wb.plots.costs(pd.DataFrame(rows))
    assert [bar.get_width() for bar in ax.patches] == [4, 1]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["dense", "removed, x 0.25"]
    assert ax.collections[0].get_segments()[1].tolist() == [[0.5, 1], [2, 1]]
    assert "dense 4, removed, x 0.25 1" in wb.plots.describe(ax)
    with pytest.raises(ValueError, match="this table has 8, got batch=1"):
        wb.plots.costs(pd.DataFrame(rows), batch=1)
    with pytest.raises(ValueError, match=r"measure is one of .*; got 'macs'"):
        wb.plots.costs(pd.DataFrame(rows).drop(columns="macs", errors="ignore"), measure="macs")
    with pytest.raises(ValueError, match="a whole table"):
        wb.plots.costs(pd.DataFrame(rows)[:0])


def test_what_cannot_be_removed_is_told() -> None:
    model = small()
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.5)
    table = wb.costs(model, masks, EXAMPLE, batches=[1], repeats=2, onnx=False)
    assert "removed" not in set(table["form"])
    assert "masked in all members of its group" in table.attrs["left_out"]["removed"]


def test_a_layer_without_a_kernel_for_2_of_4_stays_dense_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA, with dense tensors in place of packed ones; inputs that are not contiguous are made so."""

    def pack(weight: Tensor) -> Tensor:
        if len(weight) == 64:
            raise RuntimeError("no kernel")
        packed.append(weight)
        return weight

    packed: list[Tensor] = []
    monkeypatch.setattr("workbench.removal.kernels.to_sparse_semi_structured", pack)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.Linear(32, 3))
    masks = wb.keep_top(wb.score(model, None, "magnitude", exclude=["3"]), 0.5, granularity="2:4", model=model)
    wb.apply_masks_(model, masks)
    left_out: dict[str, str] = {}
    x = torch.randn(64, 2).t()
    found, names = half(model, masks, x, left_out)
    assert (names, left_out) == (["2.weight"], {"2:4 of 0.weight": "no kernel"})
    assert len(packed) == 1
    assert torch.allclose(found["2:4"](x).float(), model(x), atol=1e-2)


def test_the_interval_of_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 times it is the 10th and the 21st; of three the least and the most."""
    for repeats, low, high in ((30, 10, 21), (3, 1, 3)):
        clock = iter([0.0] * 3 + [t for k in range(repeats, 0, -1) for t in (0.0, float(k))])
        assert in_turns({"a": lambda: None}, repeats=repeats, clock=lambda clock=clock: next(clock))["a"] == (
            (repeats + 1) / 2,
            low,
            high,
        )


def test_a_machine_under_load_has_a_wide_interval() -> None:
    """Every other call takes five times as long; the calls that warm up do not count."""
    clock = iter([0.0] * 3 + [t for k in range(20) for t in (0.0, 1.0 + 4 * (k % 2))])
    assert in_turns({"a": lambda: None}, repeats=20, clock=lambda: next(clock))["a"] == (3, 1, 5)


@pytest.mark.parametrize("change", [{"repeats": 1}, {"threads": 0}, {"batches": [0]}, {"example": torch.ones(1, 6, 6)}])
def test_costs_refuses(change: dict[str, Any]) -> None:
    model = small()
    with pytest.raises(ValueError, match=r"at least|do not pass through|batches is a list"):
        wb.costs(model, halved(model), **{"example": EXAMPLE, "onnx": False, **change})


def test_break_even_is_found_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    def speed(sparsity: float, batch: int, size: Any, **how: Any) -> float:
        return sparsity / 0.7 if batch > 1 else 0.5

    monkeypatch.setitem(room.GAINS, "csr", speed)
    assert abs(break_even(2, within=0.01) - 0.7) < 0.01
    assert math.isnan(break_even(1))


def test_a_speedup_is_a_ratio_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"dense": (3.0, 2.0, 4.0), "other": (1.5, 1.0, 2.0)}

    def timed(calls: Any, repeats: int) -> Any:
        shapes.append([tuple(call().shape) for call in calls.values()])
        return times

    shapes: list[list[tuple[int, ...]]] = []
    monkeypatch.setattr(room, "in_turns", timed)
    state = torch.get_rng_state()
    assert layer_speedup(0.9, 4, (8, 8)) == layer_speedup(0.5, 2, (8, 3, 3, 3)) == 2.0
    assert layer_speedup(0.75, 4, (8, 6), removed=True) == 2.0
    assert torch.equal(state, torch.get_rng_state())
    assert shapes == [[(4, 8), (4, 8)], [(2, 8, 14, 14), (2, 8, 14, 14)], [(4, 8), (4, 2)]]
    with pytest.raises(ValueError, match=r"a size is \[out, in\]"):
        layer_speedup(0.5, 1, (8, 8, 3))


def test_break_even_on_disk_is_where_the_bytes_are_equal() -> None:
    """1 bit of 32 for a bitmask; 4 more bytes a value, and 4 a row and one more, for CSR."""
    sizes, how = (16, 40), {"within": 1e-3}
    assert abs(break_even(size=sizes, form="bitmask on disk", **how) - 1 / 32) < 2e-3
    assert abs(break_even(size=sizes, form="csr on disk", **how) - (0.5 + 17 / (2 * 16 * 40))) < 2e-3
    with pytest.raises(ValueError, match="form"):
        break_even(form="csc")
    with pytest.raises(ValueError, match=r"a size is \[out, in\]"):
        break_even(size=(8,), form="csr on disk")


@pytest.mark.parametrize(("least", "most", "within"), [(0.5, 0.5, 0.1), (0.0, 1.0, 0.1), (0.0, 0.9, 0.0)])
def test_a_search_that_does_not_end_is_refused(least: float, most: float, within: float) -> None:
    with pytest.raises(ValueError, match="least < most, and within > 0"):
        break_even(1, (8, 8), least=least, most=most, within=within)


class Blocks(nn.Module):
    """A fused block, a grouped convolution and a recurrent layer: none of them becomes CSR."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.mix, self.unit, self.out = nn.Conv1d(8, 8, 3, padding=1, groups=2), nn.GRU(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.unit(self.mix(self.block(x).transpose(1, 2)).transpose(1, 2))
        return self.out(found.mean(1))


def test_only_what_becomes_csr_counts_as_csr() -> None:
    model, x = Blocks().eval(), torch.randn(2, 5, 8)
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.5)
    table = wb.costs(model, masks, x, batches=[1], repeats=2, onnx=False).set_index("form")
    out = int((~masks["out.weight"]).sum())
    assert table.loc["csr", "macs"] == table.loc["dense", "macs"] - out
    assert sorted(sparse_layers(model)) == ["out"]


def test_a_dtype_without_csr_products_is_told() -> None:
    model = small().bfloat16()
    table = wb.costs(model, halved(model), EXAMPLE.bfloat16(), batches=[1], repeats=2, onnx=False)
    assert ("csr" in table.attrs["left_out"]) == ("csr" not in set(table["form"]))


def test_an_export_runs_at_every_batch_size(tmp_path: Path) -> None:
    model = small()
    path = export(model, tmp_path / "deep" / "model.onnx", EXAMPLE)
    opened = session(path)
    for batch in (1, 4, 7):
        inputs = torch.randn(batch, 1, 6, 6)
        with torch.no_grad():
            assert np.abs(run(opened, inputs) - model(inputs).numpy()).max() < 1e-4
    eight = export_int8(path, tmp_path / "int8.onnx", EXAMPLE)
    far = np.abs(run(session(eight), EXAMPLE) - run(opened, EXAMPLE)).max()
    assert 0 < far < 0.2 * np.abs(run(opened, EXAMPLE)).max()


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x @ x.transpose(1, 2)).real


class Large(nn.Module):
    """Another course for large batches."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[0] < 4 else x + 1


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Odd(), "Odd has no form in ONNX"),
        (Random(), "they differ by"),
        (Large(), "for any batch size|for a batch of"),
    ],
)
def test_an_export_that_is_not_the_model_is_refused(model: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        export(model, tmp_path / "x.onnx", torch.rand(3, 4, 4))


def test_an_export_needs_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("workbench.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pruning-workbench\[lab\]"):
        export(small(), tmp_path / "x.onnx", EXAMPLE)
    table = wb.costs(small(), halved(small()), EXAMPLE, batches=[1], repeats=2)
    assert "Install the extra lab" in table.attrs["left_out"]["onnx"]


def test_the_deployment_page_runs_without_torch(tmp_path: Path, digits: wb.Task) -> None:
    """Its first program without the trainings; its second where torch cannot be imported."""
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
    write, use = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(use.strip().splitlines()) <= 20
    found: dict[str, Any] = {}
    path = tmp_path / "digits.onnx"
    exec(re.sub(r"wb\.train\(.*\n", "", write).replace("digits.onnx", str(path)), found)
    images = (digits.splits["test"].inputs[:, 0] * 16).numpy()
    np.save(tmp_path / "images.npy", images)
    blocked = "import sys\nsys.modules['torch'] = sys.modules['workbench'] = None\n"
    ask = "\nnp.save('classes.npy', digits(np.load('images.npy')))\n"
    subprocess.run([sys.executable, "-c", blocked + use + ask], cwd=tmp_path, check=True)
    with torch.no_grad():
        own = found["small"].eval()(digits.take("test").inputs).argmax(1).numpy()
    assert (np.load(tmp_path / "classes.npy") == own).mean() > 0.98
