"""n:m sparsity by SR-STE: removed weights are pulled to 0, so masks settle (Zhou et al. 2021)."""

from torch import nn

from workbench.methods.nm import straight_through
from workbench.methods.registry import Arguments, named


@named(
    "sr-ste",
    source="Zhou et al. 2021, arXiv:2102.04010, equation 9",
    sparsity="constant",
    returns=True,
    granularity="n:m",
    gradients="all",
    memory="the weights behind the masks, dense",
    cost="the gradients of removed weights, and a sort of each group, at every step",
)
def sparse_refined_ste(
    model: nn.Module,
    sparsity: float,
    *,
    n_of: int = 2,
    m_of: int = 4,
    every: int = 1,
    strength: float = 2e-4,
) -> Arguments:
    """As "ste", but the gradient of a removed weight gets `strength` times the weight, which pulls it to 0.

    So a weight that is removed seldom comes back, and the masks settle.

    Misleads in a short training: the pull is `strength` times the rates of all steps together, so 2e-4, which the paper
    uses for 100 epochs of ImageNet, does nothing in some hundred steps.
    """
    return straight_through("sr-ste", model, sparsity, n_of, m_of, every, strength)
