"""What a pruned network is: accuracy, size, cost, paths, collapse. Sums first, divides once."""

from workbench.metrics.accuracy import evaluate
from workbench.metrics.collapse import collapsed, critical, critical_iterated, first_failure, max_compression
from workbench.metrics.cost import latency, macs
from workbench.metrics.language import perplexity
from workbench.metrics.paths import effective, effective_sparsity
from workbench.metrics.size import compression, layers, size_ratio, sparsity

__all__ = [
    "collapsed",
    "compression",
    "critical",
    "critical_iterated",
    "effective",
    "effective_sparsity",
    "evaluate",
    "first_failure",
    "latency",
    "layers",
    "macs",
    "max_compression",
    "perplexity",
    "size_ratio",
    "sparsity",
]
