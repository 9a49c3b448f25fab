"""Pruning methods: short compositions of scores, masks and training, a method a file.

Those that prune while a network trains stand in `during`, those that gate it at run time in `runtime`, both by name; a
new file there is found by itself.
"""

import importlib
import pkgutil

from workbench.methods import during
from workbench.methods.registry import method, method_table, methods
from workbench.methods.runtime import gated, input_macs
from workbench.methods.when import timing, timings

__all__ = ["gated", "input_macs", "method", "method_table", "methods", "timing", "timings"]

for _module in pkgutil.iter_modules(during.__path__):
    importlib.import_module(f"{during.__name__}.{_module.name}")
