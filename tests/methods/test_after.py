"""Methods after training, by hand and against other ways to the same numbers."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.methods import after
from workbench.methods.after.reconstruction import exactly

DAMP = 1e-12


def masks(*rows: list[int]) -> list[dict[str, torch.Tensor]]:
    return [{"layer": torch.tensor(row).bool()} for row in rows]


def test_distances_count_the_units_that_differ() -> None:
    found = after.mask_distances(masks([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]))
    assert found.tolist() == [[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]
    a, b = torch.tensor([True, False]), torch.tensor([False, True])
    assert not after.mask_distances([{"a": a, "b": b}, {"b": b, "a": a}]).any()  # layers go by their names


def test_a_mask_is_settled_where_it_is_near_all_of_the_window() -> None:
    steps = torch.tensor([0.0, 4.0, 5.0, 5.5, 5.6, 5.6]) / 10
    distances = (steps[:, None] - steps).abs()
    assert after.first_settled(distances, 0.11, window=1) == 2
    assert after.first_settled(distances, 0.11, window=2) == 4
    assert after.first_settled(distances, 0.11, window=5) is None
    with pytest.raises(ValueError, match="window is a whole number of at least 1; got 0"):
        after.first_settled(distances, window=0)


@pytest.mark.parametrize(("given", "words"), [([], "Pass at least one"), (masks([1], [1, 0]), "from one training")])
def test_distances_need_masks_of_one_network(given: list[dict[str, torch.Tensor]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        after.mask_distances(given)


def normed(task: wb.Task) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(task.shape[0], 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()


def test_recalibration_gives_the_moments_of_the_training_split() -> None:
    """One batch that holds the whole split: mean and (unbiased) variance of what the norm sees, and nothing else."""
    task = wb.load("moons", device="cpu")
    model = normed(task)
    before = wb.snapshot(model)
    after.recalibrate(model, task, batch_size=task.size("train"))
    with torch.no_grad():
        seen = model[1](task.take("train").inputs)
    assert torch.allclose(model[2].running_mean, seen.mean(0), atol=1e-6)
    assert torch.allclose(model[2].running_var, seen.var(0), atol=1e-5)
    assert (model[2].momentum, model.training, model[2].training) == (0.1, False, False)
    assert all(
        torch.equal(value, before[name])
        for name, value in wb.snapshot(model).items()
        if "num" not in name and "running" not in name
    )
    with pytest.raises(ValueError, match="Sequential has none"):
        after.recalibrate(nn.Sequential(nn.Linear(2, 2)), task)


def test_recalibration_leaves_out_a_last_batch_of_one_sample() -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 2, generator=draw), torch.tensor([0, 1, 0, 1, 0, 1])
    task = wb.Task.from_arrays(x, y, x, y, val=1, device="cpu")
    model = normed(task)
    after.recalibrate(model, task, batch_size=2)
    assert model[2].num_batches_tracked == 2
    with pytest.raises(ValueError, match="do not pass"):
        after.recalibrate(nn.Sequential(nn.Linear(3, 3), model[2]), task)
    assert model[2].momentum == 0.1  # after an error, too


def test_the_line_between_two_networks(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits, seed=0)
    a, b = wb.snapshot(model), wb.snapshot(wb.make("lenet-300-100", digits, seed=1))
    table = after.along(model, digits, a, b, [0.0, 0.5, 1.0])
    ends = []
    for state in (a, b):
        model.load_state_dict(state)
        ends.append(wb.evaluate(model, digits)["loss"])
    assert table["loss"].iloc[[0, 2]].tolist() == ends
    model.load_state_dict({name: (a[name] + b[name]) / 2 for name in a})
    assert table["loss"].iloc[1] == pytest.approx(wb.evaluate(model, digits)["loss"], rel=1e-5)
    with pytest.raises(ValueError, match=r"snapshots of this model; what differs: fc1.weight"):
        after.along(model, digits, a, {"fc1.weight": torch.ones(2)})


def test_the_line_with_new_statistics_leaves_the_model_as_it_was() -> None:
    task = wb.load("moons", device="cpu")
    model = normed(task)
    a, b = wb.snapshot(model), {name: value * 2 for name, value in wb.snapshot(model).items()}
    new, old = (after.along(model, task, a, b, [0.5], recalibrated=given) for given in (True, False))
    assert new["loss"].item() != old["loss"].item()
    assert all(torch.equal(value, a[name]) for name, value in wb.snapshot(model).items())


def layer(seed: int = 0, rows: int = 3, inputs: int = 6, samples: int = 40) -> tuple[nn.Linear, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    model = nn.Linear(inputs, rows).double()
    x = torch.randn(samples, inputs, generator=draw, dtype=torch.float64)
    x[:, 1] += x[:, 0]  # inputs that know something of each other
    return model, x


def solved(x: torch.Tensor, weight: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Least squares on the kept inputs, by torch's solver on X itself."""
    new = torch.zeros_like(weight)
    new[kept] = torch.linalg.lstsq(x[:, kept], x @ weight).solution
    return new


def test_reconstruction_is_the_least_squares_of_each_output() -> None:
    model, x = layer()
    kept = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    kept[2] = False  # an output without a weight
    (found,) = after.reconstruct(model, {"weight": kept}, after.layer_grams(model, x), damp=DAMP).values()
    for row in range(3):
        assert torch.allclose(found[row], solved(x, model.weight.detach()[row], kept[row]), atol=1e-8)


def test_a_convolution_is_the_linear_layer_of_its_patches() -> None:
    torch.manual_seed(0)
    model, x = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False).double(), torch.randn(4, 2, 5, 5).double()
    (gram,) = after.layer_grams(model, x).values()
    new = torch.randn_like(model.weight)
    with torch.no_grad():
        wanted, given = model(x), nn.functional.conv2d(x, new, stride=2, padding=1)
    error = after.layer_errors(model, {"weight": new}, {"weight": gram})["weight"]
    assert error == pytest.approx(float((wanted - given).square().sum() / wanted.square().sum()))
    for bad in (nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3, padding="same")):
        with pytest.raises(ValueError, match="Leave it out of names"):
            after.layer_grams(bad, torch.ones(1, 2, 5, 5))


def test_errors_of_outputs_that_are_all_zero() -> None:
    model, new = nn.Linear(2, 1), {"weight": torch.ones(1, 2)}
    assert after.layer_errors(model, new, {"weight": torch.zeros(2, 2).double()}) == {"weight": 0}
    model.weight.data.zero_()
    assert after.layer_errors(model, new, {"weight": torch.eye(2).double()}) == {"weight": math.inf}


def test_exact_pruning_goes_where_trying_all_leads() -> None:
    """At every step the weight whose removal costs least, by solving the least squares of each choice anew."""
    model, x = layer(seed=3)
    before = wb.snapshot(model)
    kept, weights = after.prune_exactly(model, after.layer_grams(model, x), 0.5, damp=DAMP)
    assert torch.equal(model.weight, before["weight"])  # the model is untouched
    for row, weight in enumerate(model.weight.detach()):
        own = torch.ones(6, dtype=torch.bool)
        for _ in range(3):
            own[min(own.nonzero().flatten().tolist(), key=functools.partial(cost, x, weight, own))] = False
        assert kept["weight"][row].tolist() == own.tolist()
        assert torch.allclose(weights["weight"][row], solved(x, weight, own), atol=1e-8)


def cost(x: torch.Tensor, weight: torch.Tensor, kept: torch.Tensor, q: int) -> float:
    """What the outputs lose if q goes, too, and all others make up for it."""
    tried = kept.clone()
    tried[q] = False
    return float((x @ (weight - solved(x, weight, tried))).square().sum())


def test_exact_pruning_is_no_worse_than_the_cut_it_repairs() -> None:
    model, x = layer(seed=5, rows=4, inputs=8, samples=100)
    grams = after.layer_grams(model, x)
    by_size = wb.keep_top(wb.score(model, None, "magnitude"), 0.5)
    cut = {"weight": model.weight.detach() * by_size["weight"]}
    repaired = after.reconstruct(model, by_size, grams)
    errors = [after.layer_errors(model, new, grams)["weight"] for new in (repaired, cut)]
    assert errors == sorted(errors)
    assert torch.equal(repaired["weight"] != 0, by_size["weight"])


def test_what_does_not_fit_is_told() -> None:
    model, x = layer()
    grams = after.layer_grams(model, x)
    with pytest.raises(ValueError, match="damp is a number above 0"):
        after.prune_exactly(model, grams, 0.5, damp=0)
    with pytest.raises(ValueError, match="grams and masks or weights name the same layers; got weight and other"):
        after.layer_errors(model, {"other": model.weight}, grams)
    with pytest.raises(ValueError, match=r"20,000,000 numbers at most; got 25,000,000. Leave the layer out"):
        exactly(torch.ones(2, 5000).double(), torch.ones(1).double().expand(5000, 5000), 1, 2)
