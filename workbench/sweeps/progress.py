"""How far a sweep is: a bar where somebody watches, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from workbench.sweeps.rows import Row

SHARE, SECONDS = 0.1, 30.0
"""A log has a line after each such share of the runs, or after so many seconds."""
NAMED = 5
"""Failed runs that are named while the others go on."""


class Progress:
    """Tells how many runs are done, running and failed, the rate of the new ones, and how long the rest will take.

    A bar in a terminal and in a live notebook. Elsewhere nothing, or with `asked=True` a line from time to time. Quiet
    where WORKBENCH_FACE is not "live", as in a headless run of a notebook.
    """

    def __init__(self, name: str, done: int, total: int, asked: bool | None = None):
        live = (os.environ.get("WORKBENCH_FACE") or "live") == "live"
        self._name, self._first, self._total, self._start = name, done, total, time.monotonic()
        self._told, self._said, self._named = done, self._start, 0
        self._bar = _bar(name, done, total) if live and asked is not False else None
        self._lines = live and asked is True and self._bar is None

    def tell(self, done: int, running: int, failed: Sequence[Row]) -> None:
        """Show how far it is now; `failed` are the runs that failed since the start."""
        words = ", ".join(f"{n} {what}" for n, what in ((running, "running"), (len(failed), "failed")) if n)
        for row in failed[self._named : NAMED]:
            self.say(reason(row))
        self._named = max(self._named, len(failed))
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(done - self._bar.n)
            if time.monotonic() - self._said > 1:  # seconds go on where no run ends
                self._said = time.monotonic()
                self._bar.refresh()
        elif self._lines and self._due(done):
            self._told, self._said = done, time.monotonic()
            self.say(f"{self._name}: {done:,} of {self._total:,} runs{f', {words}' if words else ''}{self._pace(done)}")

    def _due(self, done: int) -> bool:
        whole = done == self._total and done > self._told
        late = time.monotonic() - self._said >= SECONDS
        return whole or late or (done - self._told >= SHARE * self._total)

    def _pace(self, done: int) -> str:
        seconds, new = time.monotonic() - self._start, done - self._first
        if not new or not seconds:
            return ""
        left = f", about {_clock((self._total - done) * seconds / new)} left" if done < self._total else ""
        return f", {new / seconds:.3g} a second{left}"

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._lines:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def reason(row: Row) -> str:
    """A failed run and the last line of what it says.

    >>> reason({"error": "area(width=0)\\nTraceback\\nZeroDivisionError: division by zero\\n"})
    'failed: area(width=0): ZeroDivisionError: division by zero'
    """
    lines = row["error"].strip().splitlines()
    return ": ".join(["failed", lines[0], *lines[1:][-1:]])


def _bar(name: str, done: int, total: int) -> Any:
    """A bar of tqdm, whose rate counts what is done from now on; None where nobody watches."""
    from importlib.util import find_spec

    python: Any = sys.modules.get("IPython")
    notebook = bool(python) and hasattr(python.get_ipython(), "kernel")
    if not notebook and not sys.stderr.isatty():
        return None
    if notebook and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm
    sized = notebook or os.get_terminal_size(sys.stderr.fileno()).columns  # a terminal without a size has 0
    wide: dict[str, Any] = {"dynamic_ncols": True} if sized else {"ncols": 80, "nrows": 20}
    return tqdm(desc=name, initial=done, total=total, unit="run", smoothing=0, **wide)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
