"""First-order Taylor expansion of the loss (Molchanov et al. 2017, arXiv:1611.06440; 2019, arXiv:1906.10771)."""

import torch
from torch import Tensor, nn

from workbench.criteria.passes import gradients, loss_at, masked_weights, wide
from workbench.criteria.registry import ONE_PASS, criterion
from workbench.models.channels import by_channel
from workbench.models.running import Loss
from workbench.models.watch import Place, Watch, following, masked_state
from workbench.types import Batch, Masks, Scores, check_choice


@criterion(
    "taylor",
    family="loss change",
    granularity="channel",
    source="Molchanov et al. 2017, arXiv:1611.06440; 2019, arXiv:1906.10771, eq. 7-8",
    memory="activations",
    **ONE_PASS,
)
def taylor_channels(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss, kind: str = "gates") -> Scores:
    """How much the loss changes, to first order, when an output channel is set to zero.

    With a the channel's output after the norm and the activation function that follow the layer, and g the gradient:
    "activations" (2017): the mean over samples of `|mean over positions of a dL/da|`, divided by the layer's L2 norm.
    "weights" (2019): `sum (g w)²` over the channel's weights. "gates" (2019): `(dL/dz)²` of a gate z = 1 that
    multiplies a, which is `(sum over samples and positions of a dL/da)²`.
    Misleads near a minimum of the loss, where gradients vanish; "gates" where samples pull in opposite directions.
    """
    check_choice("kind", kind, ("activations", "gates", "weights"))
    if kind == "weights":
        weights, grads = gradients(model, batch, masks, loss_fn)
        return {n: by_channel(model, n, wide(grads[n] * w)).double().square().sum(1) for n, w in weights.items()}
    products = output_products(model, batch, masks, loss_fn)
    if kind == "gates":
        return {name: product.sum(0).double().square() for name, product in products.items()}
    sizes = {name: product.abs().sum(0) for name, product in products.items()}
    return {name: size / size.norm().clamp_min(torch.finfo(size.dtype).tiny) for name, size in sizes.items()}


def output_products(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss) -> dict[str, Tensor]:
    """`a dL/da` summed over positions, `[samples, out]` for each layer whose output is seen, as it is when made."""
    follows = following(model, batch)
    weights = masked_weights(model, masks)
    products: dict[str, list[Tensor]] = {}

    def attach(place: Place, output: Tensor) -> None:
        if list(place.passed) != follows[place.layer].steps or not output.requires_grad:
            return
        value, found = wide(output).clone(), products.setdefault(place.layer, [])
        where = len(found)
        found.append(value.new_zeros(len(value), place.channels))  # it stays where the loss does not use the output

        def keep(grad: Tensor) -> None:
            found[where] = (grad * value).movedim(place.dim, 1).reshape(*found[where].shape, -1).sum(2)

        output.register_hook(keep)

    with torch.enable_grad():
        with Watch(weights, on_step=attach):
            loss = loss_at(model, {**masked_state(model, masks), **weights}, batch, loss_fn)
        torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: torch.cat(found) for name, found in products.items()}


@criterion(
    "taylor",
    family="loss change",
    source="Molchanov et al. 2019, arXiv:1906.10771, first order, one weight",
    **ONE_PASS,
)
def taylor(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss) -> Scores:
    """`s = (w dL/dw)^2`: the squared change of the loss, to first order, when the weight is set to zero.

    The square (in float64) of SNIP's score on the same BatchNorm statistics: the two rank alike, but not over channels.
    Misleads near a minimum of the loss, where the gradient of the batch vanishes and noise ranks.
    """
    weights, grads = gradients(model, batch, masks, loss_fn)
    return {name: (w.detach() * grads.pop(name)).double().square() for name, w in weights.items()}
