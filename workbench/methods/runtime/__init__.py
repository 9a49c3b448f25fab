"""Pruning at run time: networks that decide for each input which channels they compute, a method a file."""

import importlib
import pkgutil

from workbench.methods.runtime.base import GATED, Gated, gated, input_macs, lowering, opened

__all__ = ["GATED", "Gated", "gated", "input_macs", "lowering", "opened"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
