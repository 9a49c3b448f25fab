"""The libraries of the extras: what needs one of them says so where it is not installed."""

import importlib
from importlib.util import find_spec
from typing import Any

EXTRAS = {"distributed": "cluster", "dask_jobqueue": "cluster", "dask_kubernetes": "cluster", "mlflow": "mlflow"}
"""Library -> the extra that brings it; all others are of `lab`."""


def lab(module: str) -> Any:
    """A module of a library in an extra, imported; ImportError with the remedy where it is not installed.

    >>> lab("json.decoder").__name__
    'json.decoder'
    """
    check_lab(module.partition(".")[0])
    return importlib.import_module(module)


def check_lab(*libraries: str) -> None:
    """ImportError with the remedy if one of these libraries is not installed. None is imported, as this takes time.

    >>> check_lab("json", "no_such_library")
    Traceback (most recent call last):
    ImportError: not installed: no_such_library. Install the extra lab: pip install "pruning-workbench[lab]"
    """
    if missing := [library for library in libraries if not find_spec(library)]:
        extra = ",".join(sorted({EXTRAS.get(library, "lab") for library in missing}))
        remedy = f'Install the extra {extra}: pip install "pruning-workbench[{extra}]"'
        raise ImportError(f"not installed: {', '.join(missing)}. {remedy}")
