"""n:m sparsity by the plain straight-through estimator, SR-STE's rival."""

from torch import nn

from workbench.methods.nm import straight_through
from workbench.methods.registry import Arguments, named


@named(
    "ste",
    source="Bengio et al. 2013, arXiv:1308.3432; Zhou et al. 2021, arXiv:2102.04010, section 3",
    sparsity="constant",
    returns=True,
    granularity="n:m",
    gradients="all",
    memory="the weights behind the masks, dense",
    cost="the gradients of removed weights, and a sort of each group, at every step",
)
def plain_ste(model: nn.Module, sparsity: float, *, n_of: int = 2, m_of: int = 4, every: int = 1) -> Arguments:
    """Of each `m_of` consecutive inputs of an output the `n_of` largest weights act; all are trained behind them.

    The gradient is that of the masked network. Masks are chosen after each backward, every `every` steps, for the next
    step. Layers whose inputs are no multiple of `m_of` stay dense (the first convolution, as in the authors' code), and
    so do transposed convolutions. The sparsity is `1 - n_of / m_of`, of the layers that have groups.

    Misleads late in a training: weights at the edge of a mask change places to and fro.
    """
    return straight_through("ste", model, sparsity, n_of, m_of, every, 0.0)
