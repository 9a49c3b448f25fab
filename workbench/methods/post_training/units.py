"""Scores for whole units of a language model, heads and units of the feed-forward layers, for `wb.group_scores`."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.criteria.curvature import sample_gradients
from workbench.methods.post_training.base import POST_TRAINING
from workbench.methods.post_training.blocks import walk
from workbench.methods.post_training.plan import layers_of, matrix, watched
from workbench.models.running import Loss, evaluating
from workbench.models.untouched import untouched
from workbench.models.weights import counted, turned
from workbench.removal import Groups
from workbench.types import Batch, Scores


def loss_changes(
    model: nn.Module,
    batch: Batch,
    loss_fn: Loss = functional.cross_entropy,
    *,
    order: int = 2,
    signed: bool = False,
    exclude: Iterable[str] = (),
) -> Scores:
    """How much the loss changes when a weight goes: `|w g - w² F / 2|` of each weight, or with `order=1` `|w g|`.

    g is the mean over the batch's samples of the gradient of each sample's loss, F the mean of its squares, the
    diagonal of the empirical Fisher matrix. `signed` gives the rise of the loss itself, `w² F / 2 - w g`, for
    `wb.group_scores(..., reduce="vectors")`. The model is untouched, in evaluation mode. Source: LLM-Pruner, Ma et al.
    2023, arXiv:2305.11627, equations 3 and 5; both terms are means over samples there, too.
    Misleads for whole units, whose weights go together: a sum over them knows no pair.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(2.0)
    >>> batch = Batch(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [0.0]]))
    >>> [loss_changes(layer, batch, functional.mse_loss, order=order)["weight"].item() for order in (1, 2)]
    [6.0, 14.0]
    """
    if order not in (1, 2):
        raise ValueError(f"order is 1, with the gradient alone, or 2, with the Fisher matrix, too; got {order!r}")
    weights = {name: w.detach() for name, w in counted(model, exclude).items()}
    slope, square = ({n: torch.zeros_like(w, dtype=torch.float64) for n, w in weights.items()} for _ in range(2))
    with untouched(model), evaluating(model):
        for grads in sample_gradients(model, weights, batch, loss_fn):
            for name, grad in grads.items():
                slope[name] += grad.sum(0, dtype=torch.float64) / len(batch.inputs)
                square[name] += grad.double().square().sum(0) / len(batch.inputs)
    rises = {n: w.double() * (w * square[n] * (order - 1) / 2 - slope[n]) for n, w in weights.items()}
    return rises if signed else {name: rise.abs() for name, rise in rises.items()}


@torch.no_grad()
def activation_scores(model: nn.Module, inputs: Tensor, groups: Groups, rows: int = 8) -> Scores:
    """`|w_ij| ||X_j||` of the layers in a decoder's blocks that read units which can go, in their weights' shapes.

    In a Llama these are the layers after the heads and after the gated units. Summed by `wb.group_scores` over all
    weights that read a unit, it is the most that the outputs of the layer behind can lose with it. What writes the unit
    is left out: there, the norms are those of other inputs. (Measured on the small Llama with a fifth of its blocks'
    parameters removed, 1.77 bits a byte, and 1.83 with all members; the variance of the inputs in place of their norm,
    as in FLAP, gave 1.77.) `inputs` are tokens `[n, t]`, `rows` of them at a time; norms are means over the tokens. The
    model is untouched. Sources: Wanda, Sun et al. 2023, arXiv:2306.11695, eq. 1; summed over what reads the units as
    in the "Wanda-sp" of An et al. 2023, arXiv:2312.11983.
    Misleads where later layers do not use what the block gives, which takes a gradient to see (`loss_changes`).

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> model, tokens = wb.trained("llama", task), task.batch(2).inputs
    >>> list(activation_scores(model, tokens, wb.groups(model, tokens)))[:2]
    ['model.layers.0.self_attn.o_proj.weight', 'model.layers.0.mlp.down_proj.weight']
    """
    free = [group for group in groups if len(group.fixed) < group.units]
    reading = {member.parameter for group in free for member in group.members if member.role == "reads"}
    found = Scores()

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        layers = {n: module for n, module in layers_of(name, block).items() if f"{n}.weight" in reading}
        with watched(layers, POST_TRAINING["wanda"]) as seen:
            run()
        for layer, module in layers.items():
            scores = matrix(module).abs() * seen[layer].power.sqrt()
            found[f"{layer}.weight"] = scores.t() if turned(module) else scores

    walk(model, inputs, visit, rows)
    if not found:
        told = "scores are of linear layers in the blocks that read units which can go; these groups have none"
        raise ValueError(f"{told}. Pass wb.groups(model, inputs[:1]) of this model; its groups say what keeps units")
    return found
