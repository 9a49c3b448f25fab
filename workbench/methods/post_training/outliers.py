"""OWL: blocks whose layers have more outliers keep more (Yin et al. 2024, arXiv:2310.05175)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workbench.methods.post_training.base import POST_TRAINING
from workbench.methods.post_training.blocks import walk
from workbench.methods.post_training.experts import stacks_of, watched_experts
from workbench.methods.post_training.plan import layers_of, matrix, watched
from workbench.types import check_sparsity


@torch.no_grad()
def outlier_shares(model: nn.Module, inputs: Tensor, outlier: float = 5.0, rows: int = 8) -> dict[str, float]:
    """The share of `|w_ij| ||X_j||` of each block that are above `outlier` times the mean of their layer.

    `inputs` are calibration tokens `[n, t]`; no block is pruned, and experts that saw no token do not count. Source:
    Yin et al. 2024, arXiv:2310.05175, section 3.

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> shares = outlier_shares(wb.make("llama", task, width=0.25), task.batch(2).inputs)
    >>> list(shares)[0], all(0 <= share < 0.2 for share in shares.values())
    ('model.layers.0', True)
    """
    found: dict[str, float] = {}

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        layers, above, count, wanda = layers_of(name, block), 0, 0, POST_TRAINING["wanda"]
        with (
            watched(layers, wanda) as seen,
            watched_experts(block, stacks_of(name, block), wanda.needs) as stacks,
        ):
            run()
        read = [(matrix(module), seen[layer]) for layer, module in layers.items()]
        read += [(s.matrix(e), inputs) for s in stacks.values() for e, inputs in enumerate(s.inputs) if inputs.n]
        for weight, inputs in read:
            scores = weight.abs() * inputs.power.sqrt()
            above += int((scores > outlier * scores.mean()).sum())
            count += scores.numel()
        found[name] = above / count

    walk(model, inputs, visit, rows)
    return found


def owl(shares: dict[str, float], sparsity: float, most: float = 0.08) -> dict[str, float]:
    """The sparsity of each block, for `wb.prune_llm`: their mean is `sparsity`, and more outliers are kept whole.

    The shares of outliers become densities between 0 and `2 most`, in a straight line from the least to the largest,
    moved so that their mean is that of the network. For blocks of one size, as those of a decoder are. Raises
    ValueError where a block's sparsity would leave [0, 1). Misleads with few blocks: its default range was found on 32.

    >>> {block: round(s, 2) for block, s in owl({"a": 0.01, "b": 0.03}, 0.5, most=0.1).items()}
    {'a': 0.6, 'b': 0.4}
    """
    check_sparsity(sparsity)
    low, high = min(shares.values()), max(shares.values())
    raised = {block: 2 * most * (share - low) / ((high - low) or 1) for block, share in shares.items()}
    mean = sum(raised.values()) / len(raised)
    found = {block: sparsity + mean - more for block, more in raised.items()}
    for block, own in found.items():
        if not 0 <= own < 1:
            told = f"each block's sparsity is in [0, 1); {block!r} would have {own:.3g}"
            raise ValueError(f"{told}. Pass a smaller most, or another sparsity")
    return found
