"""What a pruned network is: accuracy, size, cost, paths, collapse. Sums first, divides once."""

from workbench.metrics.accuracy import evaluate
from workbench.metrics.collapse import collapsed, critical, critical_search, max_compression
from workbench.metrics.cost import latency, macs
from workbench.metrics.paths import effective, effective_sparsity
from workbench.metrics.size import compression, layers, size_ratio, sparsity

__all__ = [
    "collapsed",
    "compression",
    "critical",
    "critical_search",
    "effective",
    "effective_sparsity",
    "evaluate",
    "latency",
    "layers",
    "macs",
    "max_compression",
    "size_ratio",
    "sparsity",
]
