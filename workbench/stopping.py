"""A stop of the `workbench` command by Ctrl-C or SIGTERM: one line and an exit code, at any moment."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

LINE = b"workbench: stopped; finished runs stay, the same command goes on from there\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM)

at_stop: list[Callable[[], None]] = []
"""What is cleared away before a stopped command ends."""


def is_command() -> bool:
    """Whether this process was started as the command: by its script, or by `python -m workbench.cli`."""
    if multiprocessing.parent_process() is not None:
        return False  # a worker, which has the command's words
    first = sys.argv[0] if sys.argv else ""
    by_module = first == "-m" and "workbench.cli" in sys.orig_argv  # so it is while a module is looked for
    return by_module or os.path.splitext(os.path.basename(first))[0] == "workbench"


def listen() -> None:
    """From now on a stop ends this process and its workers. A signal that was ignored stays ignored.

    It does not raise: an exception in the middle of an import or of a callback can be swallowed there. What the command
    writes is whole or not there, so that it may end anywhere.
    """
    with contextlib.suppress(ValueError):  # only the main thread can listen
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, _stop)


def _stop(number: int, frame: Any) -> None:
    """Say one line, end the worker processes, clear away, end."""
    try:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        os.write(2, LINE)
        if processes := sys.modules.get("multiprocessing.process"):
            for child in processes.active_children():
                child.kill()
        for clear in at_stop:
            clear()
    finally:
        os._exit(128 + number)
