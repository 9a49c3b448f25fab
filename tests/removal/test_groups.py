"""The coupled groups: hand-checked, and beside torch-pruning's where it is right."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo import ZOO, Course

import workbench as wb


def found(model: nn.Module, example: Tensor) -> dict[str, wb.removal.Group]:
    return {group.name: group for group in wb.groups(model, example)}


def places(group: wb.removal.Group, parameter: str, dim: int) -> tuple[tuple[int, ...], ...]:
    return next(m.at for m in group.members if (m.parameter, m.dim) == (parameter, dim))


def test_a_flattened_channel_is_read_by_all_its_places():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    group = found(model, torch.zeros(1, 1, 4, 4))["0.weight"]
    assert places(group, "2.weight", 1) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert str(group).splitlines()[-1].split() == ["reads", "2.weight", "dim", "1", "2", "units", "x", "4"]


def test_a_concatenation_shifts_the_second_layer():
    model = Course(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], -1)), a=nn.Linear(3, 2), b=nn.Linear(3, 2), c=nn.Linear(4, 2)
    )
    groups = found(model, torch.zeros(1, 5, 3))  # along the last dimension of three
    assert places(groups["a.weight"], "c.weight", 1) == ((0,), (1,))
    assert places(groups["b.weight"], "c.weight", 1) == ((2,), (3,))
    assert "2 units, from 2" in str(groups["b.weight"])


def test_a_sum_couples_and_padding_does_not():
    model = Course(
        lambda m, x: m.c(m.b(x) + nn.functional.pad(m.a(x), (0, 1))),
        a=nn.Linear(3, 2), b=nn.Linear(3, 3), c=nn.Linear(3, 2),
    )  # fmt: skip
    group = found(model, torch.zeros(1, 3))["a.weight"]
    assert (group.units, group.fixed) == (3, ())
    assert places(group, "a.weight", 0) == ((0,), (1,), ())
    assert places(group, "b.weight", 0) == ((0,), (1,), (2,))


def test_heads_and_the_queries_that_share_one_live_together():
    def course(m, x):
        q, k, v = m.q(x).view(1, 4, 4, 2), m.k(x).view(1, 4, 2, 2), m.v(x).view(1, 4, 2, 2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        return m.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)).mean((1, 2))

    model = Course(course, q=nn.Linear(6, 8), k=nn.Linear(6, 4), v=nn.Linear(6, 4), o=nn.Linear(8, 6))
    group = found(model, torch.zeros(1, 4, 6))["q.weight"]
    assert (group.units, group.fixed) == (2, ())
    assert places(group, "q.weight", 0) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert places(group, "v.weight", 0) == ((0, 1), (2, 3))
    assert places(group, "o.weight", 1) == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_crossed_channels_leave_one_side():
    model = Course(
        lambda m, x: m.c((m.a(x)[:, :, None] * m.b(x)[:, None]).flatten(1)),
        a=nn.Linear(3, 2), b=nn.Linear(3, 3), c=nn.Linear(6, 2),
    )  # fmt: skip
    groups = found(model, torch.zeros(1, 3))
    assert "crossed" in groups["a.weight"].why
    assert places(groups["b.weight"], "c.weight", 1) == ((0, 3), (1, 4), (2, 5))


def test_all_gates_of_a_unit_in_all_layers_and_directions():
    model = Course(
        lambda m, x: m.c(m.a(x)[0][:, -1]), a=nn.GRU(2, 3, 2, batch_first=True, bidirectional=True), c=nn.Linear(6, 2)
    )
    group = found(model, torch.zeros(1, 5, 2))["a.weight_ih_l0"]
    assert (group.units, group.fixed) == (3, ())
    assert places(group, "a.weight_ih_l0", 0)[1] == (1, 4, 7)
    assert places(group, "a.weight_hh_l1_reverse", 1)[1] == (1,)
    assert places(group, "c.weight", 1)[1] == (1, 4)


@pytest.mark.parametrize(
    ("course", "why"),
    [
        (lambda m, x: m.c(m.a(x).softmax(-1)), "softmax mixes them"),
        (lambda m, x: m.c(m.norm(m.a(x))), "the norm norm.weight takes a mean over them"),
        (lambda m, x: m.c(m.a(x) + x), "add with a tensor of their width that cannot shrink"),
        (lambda m, x: m.c(m.a(x) * torch.arange(3)), "mul with a tensor"),
        (lambda m, x: m.c(torch.cumsum(m.a(x), 1)), "cumsum mixes them"),
        (lambda m, x: m.c(torch.cdist(m.a(x), m.a(x)).mean(-1, True).expand(-1, 3)), "cdist is not known"),
        (lambda m, x: m.c(m.a(x)[:, 1:2].expand(-1, 3)), "they are taken by their numbers"),
        (lambda m, x: m.a(x), "they are the model's outputs"),
        (lambda m, x: m.c(m.a(x).sigmoid()), "sigmoid makes 0.5 of the 0 that a removed unit leaves"),
        (lambda m, x: m.c(functional.softplus(m.a(x)).relu()), "softplus makes 0.693"),
        (lambda m, x: m.c(m.a(x).cos() * 2), "cos makes 1 of"),
        (lambda m, x: m.c((m.a(x) + 3).relu()), "add makes 3 of"),
        (lambda m, x: m.c((3 - m.a(x)).flatten(1)), "rsub makes 3 of"),
        (lambda m, x: m.c(torch.cat([m.a(x).exp(), x], -1)[:, :3]), "exp makes 1 of"),
        (lambda m, x: m.c(m.a(x).sigmoid().sum(-1, True).expand(-1, 3)), "sigmoid makes 0.5"),
        (lambda m, x: m.c(functional.batch_norm(m.a(x), m.norm.shift, m.norm.shift)), "batch_norm makes -1 of"),
        (lambda m, x: torch.einsum("...i,oi->...o", m.a(x).exp(), m.c.weight), "exp makes 1 of"),
        (lambda m, x: m.c(m.norm.shift + m.a(x)), "add makes 1 of"),
        (lambda m, x: m.c(m.a(x) + m.norm.shift[None]), "the buffer norm.shift has no mask"),
    ],
)  # fmt: skip
def test_what_holds_units_is_said(course, why):
    model = Course(course, a=nn.Linear(3, 3), norm=nn.LayerNorm(3), c=nn.Linear(3, 2))
    model.norm.register_buffer("shift", torch.ones(3))
    assert why in found(model, torch.ones(2, 3))["a.weight"].why


@pytest.mark.parametrize(
    "course",
    [
        lambda m, x: m.c(m.a(x) * m.a(x).sigmoid()),
        lambda m, x: m.c(functional.relu_(m.a(x)).add_(m.a(x)).mul(torch.tensor(2.0))),
        lambda m, x: m.c(m.a(x).sigmoid().mul_(m.a(x).tanh())),
        lambda m, x: m.c(m.a(x) * m.norm.weight + m.norm.bias),  # parameters are masked
        lambda m, x: m.c(m.a(x).to(x).type_as(x)),
        lambda m, x: torch.einsum("...i,oi->...o", m.a(x), m.c.weight),
        lambda m, x: m.c(functional.batch_norm(m.a(x).exp(), m.norm.shift, m.norm.shift, m.norm.weight, m.norm.bias)),
    ],
)  # fmt: skip
def test_what_is_0_where_it_is_read_can_go(course):
    model = Course(course, a=nn.Linear(3, 3), norm=nn.LayerNorm(3), c=nn.Linear(3, 2))
    model.norm.register_buffer("shift", torch.ones(3))
    group = found(model, torch.ones(2, 3))["a.weight"]
    assert (group.units, group.fixed, group.why) == (3, (), "")


def test_only_the_units_that_are_read_behind_such_a_function_stay():
    model = Course(
        lambda m, x: m.c(torch.cat([m.a(x)[:, :2].sigmoid(), m.a(x)[:, 2:]], -1)), a=nn.Linear(3, 4), c=nn.Linear(4, 2)
    )
    x, weights = torch.ones(2, 3), {"a.weight": torch.ones(4, 3), "c.weight": torch.ones(2, 4)}
    assert found(model, x)["a.weight"].fixed == (0, 1)
    top = torch.finfo(torch.float32).max
    assert wb.group_scores(model, weights, x)["a.weight"].tolist() == [top, top, 5, 5]


def test_a_unit_that_is_all_of_a_layer_stays():
    """Between two grouped convolutions channels are shuffled, so that each group holds on to the other."""
    mixed = nn.Conv2d(4, 4, 1, groups=2), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 1, groups=2)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1), *mixed, nn.Conv2d(4, 2, 1)), torch.ones(1, 3, 5, 5)
    assert found(model, x)["0.weight"].why == "it would take all of '0.weight'"
    with pytest.raises(
        ValueError, match=r"this model has none: '0.weight': it would take all of '0.weight'; '4.weight'"
    ):
        wb.group_scores(model, wb.score(model, None, "magnitude"), x)


def test_groups_stand_for_an_example_and_are_found_once(monkeypatch):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(1, 3)
    groups = wb.groups(model, x)
    monkeypatch.setattr("workbench.removal.units.Trace", None)  # nothing looks again
    scores = wb.group_scores(model, wb.score(model, None, "magnitude"), groups)
    masks = wb.group_masks(model, wb.keep_top(scores, 0.5), groups)
    small = wb.remove(model, masks, groups)
    assert small[0].out_features == 2
    assert wb.masks_to(model, scores, 0.5, groups).keys() == masks.keys()
    for other in (small, copy.deepcopy(model)):
        with pytest.raises(ValueError, match=r"groups are of the model, as it is now.*wb.groups\(model, example\)"):
            wb.group_scores(other, wb.score(other, None, "magnitude"), groups)
    model[0].weight = nn.Parameter(torch.ones(5, 3))
    with pytest.raises(ValueError, match="as it is now"):
        wb.group_masks(model, {}, groups)


def test_an_assignment_in_place_holds_what_it_changes():
    def course(m, x):
        y = m.a(x)
        y[:, :1] = 0.0
        return m.c(y)

    group = found(Course(course, a=nn.Linear(3, 3), c=nn.Linear(3, 2)), torch.ones(2, 3))["a.weight"]
    assert "setitem" in group.why


@pytest.mark.parametrize("name", sorted(ZOO.keys() - {"compiled"}))
def test_the_model_is_bit_equal(name):
    model, batch = ZOO[name]()
    model.train()
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    hooks = [model.register_forward_hook(lambda *_: None)]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    counts = [len(m._forward_hooks) for m in model.modules()]
    assert wb.groups(model, batch.inputs)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(m.training for m in model.modules())
    assert next(model.parameters()).grad.eq(1).all()
    assert counts == [len(m._forward_hooks) for m in model.modules()]
    hooks[0].remove()


def test_groups_are_those_of_torch_pruning(tasks):
    """On a plain network, whose channels it maps one to one."""
    import torch_pruning as tp

    model, example = wb.make("vgg", tasks["digits"]), tasks["digits"].batch(1).inputs
    ours = {
        frozenset((m.parameter, m.dim) for m in group.members if m.role != "along"): group.units
        for group in wb.groups(model, example)
    }
    graph = tp.DependencyGraph().build_dependency(copy.deepcopy(model), example)
    names, theirs = {m: n for n, m in graph.model.named_modules()}, {}
    for group in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]):
        members = set()
        for dep, _ in group:
            if isinstance(dep.target.module, nn.Conv2d | nn.Linear):
                members.add((f"{names[dep.target.module]}.weight", int(graph.is_in_channel_pruning_fn(dep.handler))))
        theirs[frozenset(members)] = len(group[0].idxs)
    assert ours == theirs


def test_scores_of_groups_add_what_writes_and_reads():
    model = Course(
        lambda m, x: m.c(m.a(x) + m.b(x)),
        a=nn.Linear(1, 2, bias=False), b=nn.Linear(1, 2, bias=False), c=nn.Linear(2, 1, bias=False),
    )  # fmt: skip
    scores = {
        "a.weight": torch.tensor([[1.0], [2.0]]),
        "b.weight": torch.tensor([[10.0], [20.0]]),
        "c.weight": torch.tensor([[100.0, 200.0]]),
    }
    x = torch.ones(1, 1)
    assert {name: s.tolist() for name, s in wb.group_scores(model, scores, x).items()} == {"a.weight": [111.0, 222.0]}
    assert wb.group_scores(model, scores, x, "mean")["a.weight"].tolist() == [37.0, 74.0]
    own = {name: value.sum(1) for name, value in scores.items()}  # of channels: those that write
    assert wb.group_scores(model, own, x)["a.weight"].tolist() == [11.0, 22.0]
    mixed = {"a.weight": scores["a.weight"].bfloat16(), **{name: scores[name] for name in ("b.weight", "c.weight")}}
    assert wb.group_scores(model, mixed, x)["a.weight"].tolist() == [111.0, 222.0]


def test_scores_and_masks_of_groups_refuse_what_is_not_theirs():
    model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"'0.weight' has \(5,\)"):
        wb.group_scores(model, {"0.weight": torch.ones(5)}, x)
    with pytest.raises(ValueError, match=r"masks name groups.*'fc'.*0.weight, 2.weight"):
        wb.group_masks(model, {"fc": torch.tensor([True])}, x)
    with pytest.raises(ValueError, match=r"'0.weight' of 3 units"):
        wb.group_masks(model, {"0.weight": torch.tensor([True])}, x)


def test_the_picture_of_a_group_marks_one_unit_wherever_it_is():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    group = found(model, torch.zeros(1, 1, 4, 4))["0.weight"]
    ax = wb.plots.group_members(group, unit=1)
    both, one = ax.containers
    assert [(bar.get_x(), bar.get_width()) for bar in both] == [(0, 2), (0, 8)]
    assert [(bar.get_x(), bar.get_width()) for bar in one] == [(1, 1), (4, 4)]
    with pytest.raises(ValueError, match=r"a number from 0 to 1; got 2"):
        wb.plots.group_members(group, unit=2)


def test_what_is_not_known_is_named_with_its_module():
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(x, x)

    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(Odd()), nn.Linear(2, 2))
    assert found(model, torch.ones(2, 3))["0.weight"].why == "cdist in '1.0' is not known to keep channels apart"
    with warnings.catch_warnings(action="ignore"):
        scripted = nn.Sequential(nn.Linear(3, 4), torch.jit.script(nn.Linear(4, 4)), nn.Linear(4, 2))
    with pytest.raises(TypeError, match=r"'1' is compiled \(TorchScript\). Pass the module that it was made of"):
        wb.groups(scripted, torch.ones(2, 3))


def test_a_view_that_is_changed_in_place_holds_what_is_read_beside_it():
    def course(m, x):
        y = m.a(x)
        y[:, 1:].add_(m.b(x))  # y has other numbers now
        return m.c(y)

    model = Course(course, a=nn.Linear(3, 3), b=nn.Linear(3, 2), c=nn.Linear(3, 2))
    assert "changed in place through a view" in found(model, torch.ones(2, 3))["a.weight"].why

    def rectified(m, x):
        return m.c(functional.relu_(m.a(x).view(-1, 3)))  # nothing reads what is behind the view

    assert not found(Course(rectified, a=nn.Linear(3, 3), c=nn.Linear(3, 2)), torch.ones(2, 3))["a.weight"].fixed
