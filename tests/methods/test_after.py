"""Methods after training, by hand and against other ways to the same numbers."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.data.measures import next_token
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


# Distillation


class Fixed(nn.Module):
    """Gives its own logits for any input."""

    def __init__(self, *logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), *self.logits.shape[1:]) if len(self.logits) == 1 else self.logits


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_distillation_by_hand(share: float) -> None:
    """Odds of 3 : 1 against odds of 1 : 1 at temperature 2, and the cross entropy of even odds."""
    teacher, student = Fixed([2 * math.log(3), 0.0]), Fixed([0.0, 0.0])
    loss = after.distilled(teacher, temperature=2.0, share=share)(
        student, wb.Batch(torch.ones(3, 1), torch.zeros(3).long())
    )
    far = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss.item() == pytest.approx(share * 4 * far + (1 - share) * math.log(2), rel=1e-5)
    loss.backward()
    want = share * 2 * (0.5 - 0.75) + (1 - share) * (0.5 - 1)  # T (q - p), whatever the temperature, in size
    assert student.logits.grad[0, 0].item() == pytest.approx(want, rel=1e-5)
    assert teacher.logits.grad is None


def test_places_without_a_label_do_not_count_and_classes_stand_where_the_loss_has_them() -> None:
    torch.manual_seed(0)
    theirs, ours = torch.randn(2, 2, 3, 5).unbind()
    labels = torch.tensor([[1, -100, 4], [-100, 0, 2]])
    kept = labels != -100
    p, q = (rows[kept].div(3).softmax(1) for rows in (theirs, ours))
    want = 9 * (p * (p / q).log()).sum(1).mean()
    x = torch.ones(2, 1)
    tokens = after.distilled(Fixed(*theirs.tolist()), next_token, temperature=3.0, share=1.0)
    torch.testing.assert_close(tokens(Fixed(*ours.tolist()), wb.Batch(x, labels)), want)
    turned = after.distilled(Fixed(*theirs.mT.tolist()), temperature=3.0, share=1.0)  # [n, classes, places]
    torch.testing.assert_close(turned(Fixed(*ours.mT.tolist()), wb.Batch(x, labels)), want)


def test_a_student_learns_from_its_teacher_alone(digits: wb.Task) -> None:
    """Without labels: it agrees with a trained teacher, whose flags stay, also in a model of other outputs."""
    teacher, student = (wb.make("lenet-300-100", digits, seed, width=0.2) for seed in (0, 1))
    wb.train(teacher, digits, epochs=3)
    teacher.train()
    rows = wb.train(student, digits, epochs=3, loss=after.distilled(teacher, share=1.0))
    assert teacher.training
    assert rows[-1]["loss"] < rows[0]["loss"] / 5
    x = digits.splits["val"].inputs
    with torch.no_grad():
        assert (teacher(x).argmax(1) == student(x).argmax(1)).float().mean() > 0.8


def test_distillation_of_tokens_mends_a_shorter_llama() -> None:
    text = wb.load("text", device="cpu")
    dense = wb.trained("llama", text)
    dropped, small = (wb.drop_blocks(dense, ["model.layers.3"]) for _ in range(2))
    x, y = text.take("val", slice(8))
    wb.train(small, text, steps=8, batch_size=4, lr=0.03, loss=wb.distilled(dense, text.loss))
    with torch.no_grad():
        lost, found, whole = (text.loss(one(x), y).item() for one in (dropped, small, dense))
    assert whole < found < lost - 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "got temperature=0.0"),
        ({"temperature": math.nan}, "got temperature=nan"),
        ({"share": 1.5}, "and share=1.5"),
        ({"loss_fn": nn.functional.mse_loss}, "probabilities of classes; got .*mse_loss"),
    ],
)
def test_what_distillation_refuses(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        after.distilled(nn.Linear(1, 2), **options)


def test_a_teacher_is_another_model_of_the_same_outputs() -> None:
    batch, model = wb.Batch(torch.ones(2, 1), torch.zeros(2).long()), nn.Linear(1, 2)
    with pytest.raises(ValueError, match="one model for both"):
        after.distilled(model)(model, batch)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 2\)"):
        after.distilled(nn.Linear(1, 3))(model, batch)


# Adapters


def linear_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in wb.prunable(model).items()}


def test_adapters_add_a_low_rank_and_leave_nothing_behind(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits, width=0.2)
    before, names, held = linear_weights(model), list(model.state_dict()), set(vars(model))
    biases = {name: p.detach().clone() for name, p in model.named_parameters() if p.ndim == 1}
    model.fc2.weight.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    x = digits.splits["val"].inputs
    with after.adapters(model, rank=2, exclude=["fc3"]) as adapted:
        assert adapted is model
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained == 2 * sum(sum(before[f"{layer}.weight"].shape) for layer in ("fc1", "fc2"))
        wb.train(adapted, digits, steps=20)
        with torch.no_grad():
            inside = model(x)
    with torch.no_grad():
        torch.testing.assert_close(model(x), inside, atol=1e-4, rtol=1e-4)
    deltas = {name: (new - before[name]).double() for name, new in linear_weights(model).items()}
    assert not deltas["fc3.weight"].any()
    for layer in ("fc1.weight", "fc2.weight"):
        sizes = torch.linalg.svdvals(deltas[layer])
        assert sizes[0] > 1e-3
        assert sizes[2] < 1e-5 * sizes[0] + 1e-5
    assert all(torch.equal(model.get_parameter(name), bias) for name, bias in biases.items())
    assert list(model.state_dict()) == names
    assert set(vars(model)) == held
    assert [p.requires_grad for p in model.parameters()] == flags


def test_adapters_of_a_masked_model_never_fill_its_zeros(digits: wb.Task) -> None:
    """Also while they are trained: what is measured inside is what is merged."""
    model = wb.make("lenet-300-100", digits, width=0.2)
    masks = wb.find_masks(model, None, "magnitude", sparsity=0.8)
    x = digits.splits["val"].inputs
    with after.adapters(model, rank=4, masks=masks):
        wb.train(model, digits, steps=20)
        with torch.no_grad():
            inside = model(x)
    with torch.no_grad():
        torch.testing.assert_close(model(x), inside, atol=1e-4, rtol=1e-4)
    for name, mask in masks.items():
        assert not model.get_parameter(name)[~mask].any()


def test_adapters_of_gpt2_whose_weights_are_turned() -> None:
    hub = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hub.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=40, n_positions=16, bos_token_id=1, eos_token_id=2
    )
    model, x = hub.GPT2LMHeadModel(config), torch.randint(3, 40, (2, 8))
    masks = wb.find_masks(model, None, "magnitude", sparsity=0.5)
    with after.adapters(model, rank=2, masks=masks):
        model.train()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.05)
        for _ in range(3):
            optimizer.zero_grad()
            model(x, labels=x).loss.backward()
            optimizer.step()
        with torch.no_grad():
            inside = model.eval()(x).logits
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, inside, atol=1e-5, rtol=1e-5)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())


def test_what_adapters_give_is_measured_in_an_encoder_of_torch_too() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        before = model(x)
        with after.adapters(model, rank=1):
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.fill_(1)
            inside = model(x)
        torch.testing.assert_close(model(x), inside)
    assert not torch.allclose(before, inside, atol=0.01)


def test_a_block_that_raises_merges_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.MultiheadAttention(4, 2))
    before = wb.snapshot(model)

    def interrupted() -> None:
        with after.adapters(model, rank=1):
            assert type(model[0]) is not nn.Linear
            assert isinstance(model[1].out_proj, nn.Linear)  # attention reads its weight, and does not call it
            next(p for n, p in model.named_parameters() if "lora_B" in n).data.fill_(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(value, before[name]) for name, value in wb.snapshot(model).items())
    assert type(model[0]) is nn.Linear


def test_adapters_need_a_linear_layer_and_a_rank() -> None:
    with pytest.raises(ValueError, match="Conv2d has none"), after.adapters(nn.Conv2d(1, 1, 1)):
        pass
    with pytest.raises(ValueError, match="rank is a whole number"), after.adapters(nn.Linear(2, 2), rank=0):
        pass
