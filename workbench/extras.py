"""The libraries of the extra `lab`: what needs one of them says so where it is not installed."""

import importlib
from importlib.util import find_spec
from typing import Any


def lab(module: str) -> Any:
    """A module of a library in the extra `lab`, imported; ImportError with the remedy where it is not installed.

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
    if missing := ", ".join(library for library in libraries if not find_spec(library)):
        raise ImportError(f'not installed: {missing}. Install the extra lab: pip install "pruning-workbench[lab]"')
