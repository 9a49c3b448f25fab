"""What every live explorer shares: one lock, one worker, errors in sight, and an end when its cell runs again."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anywidget
import traitlets

from workbench.claims import NUMBERS_MIME
from workbench.explorers.page import IDLE
from workbench.explorers.worker import Report, Work, Worker

EVERY = 0.1
"""Seconds between two reports of the same work."""
_open: list[tuple[str, str, Explorer]] = []


class Explorer(anywidget.AnyWidget):
    """A widget whose callbacks may run in any thread, whose slow work runs in its worker, and which never breaks.

    Subclasses put callbacks into `with self.guard():`, answer messages in `on_<kind>` methods, and submit jobs to
    `self.worker` in the slots they name; files are written in a slot before all others. `self.lock` protects what
    callbacks and jobs share; no job computes under it. `errors` keeps every exception's text, `status` the last one's.
    """

    slots: tuple[str, ...] = ()
    status = traitlets.Dict(IDLE).tag(sync=True)

    def __init__(self, name: str | None = None, **traits: Any):
        self.lock = threading.RLock()
        self.errors: list[str] = []
        self.worker = Worker(("saving", *self.slots), self.fail)
        self._asked: deque[Callable[[], str]] = deque()
        self._said = ("", 0.0)
        super().__init__(**traits)
        self.on_msg(self._answer)
        _replace(name, self)

    def open(self) -> None:
        """Open the channel to the page, which a running cell does not hold up."""
        super().open()
        answer_where_asked(self.comm)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take a change from the page. Under the lock, as the worker sets traits of the same widget."""
        with self.lock:
            super().set_state(sync_data)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Hold the lock; an exception (or an interrupted kernel) ends in the error line, not in the notebook."""
        try:
            with self.lock:
                yield
        except (Exception, KeyboardInterrupt) as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Show `error` in the explorer and keep its traceback in `errors`."""
        if self.comm is None:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        said = "The kernel was interrupted." if interrupted else f"{type(error).__name__}: {error}"
        with self.lock:
            self.errors.append("".join(traceback.format_exception(error)))
            working = self.worker.busy(*self.slots)
            self.status = {**(self.status if working else IDLE), "error": said}

    def _answer(self, _: Any, content: Any, buffers: Any) -> None:
        if content == {"kind": "alive"}:
            return  # that it could be sent told the page what it asked
        with self.guard():
            self.status = {**self.status, "error": ""}  # so that the same error is news when it comes again
            kind = content.get("kind") if isinstance(content, dict) else content
            answer = getattr(self, f"on_{kind}", None) if isinstance(kind, str) else None
            if answer is None:
                raise ValueError(f"a message of the page has a known kind; got {content!r}")
            answer(**{key: value for key, value in content.items() if key != "kind"})

    def put(self, **traits: Any) -> None:
        """Set the traits that differ, so that the page hears of no others."""
        for name, value in traits.items():
            if getattr(self, name) != value:
                setattr(self, name, value)

    def report(self, stale: Callable[[], bool]) -> Report:
        """What a job tells the page with how far it is, a few times a second, until it is stale."""

        def tell(busy: str, progress: float) -> None:
            with self.lock:
                if stale() or (self._said[0] == busy and time.monotonic() - self._said[1] < EVERY):
                    return
                self._said = busy, time.monotonic()
                self.status = {**self.status, "busy": busy, "progress": progress}

        return tell

    def save(self, write: Callable[[], str]) -> None:
        """Let the worker write a file; the page shows what `write` returns."""
        self._asked.append(write)
        self.worker.submit("saving", self._write)

    def _write(self, stale: Callable[[], bool]) -> Work[None]:
        """Write all files that were asked for, the first ones first: none gives way to a later one."""
        while self._asked:
            try:
                self.send({"kind": "note", "text": self._asked.popleft()()})
            except Exception as error:
                self.fail(error)
            yield

    def from_state(self, state: Mapping[str, Any]) -> None:
        """Show a setting; subclasses fill it."""

    def on_load_state(self, state: Mapping[str, Any]) -> None:
        """Show a setting that was pasted. Only then does the page close the panel that it was pasted into."""
        self.from_state(state)
        self.send({"kind": "loaded"})

    def numbers(self) -> dict[str, Any]:
        """What a headless run may read of the view; subclasses fill it."""
        return {}

    def still(self) -> dict[str, Any]:
        """The view in formats that need no widget, by MIME type (papermill, nbconvert, GitHub); subclasses fill it."""
        return {}

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if bundle := super()._repr_mimebundle_(**kwargs):
            bundle[0].update(self.still())
            bundle[0][NUMBERS_MIME] = self.numbers()
        return bundle

    def close(self) -> None:
        """End the worker and remove the widget with all that hangs on it."""
        self.worker.close()
        with self.lock:
            self.unobserve_all()
            self.on_msg(self._answer, remove=True)
            layout = self.layout
            super().close()
            layout.close()
            _open[:] = [entry for entry in _open if entry[2] is not self]


def answer_where_asked(comm: Any) -> None:
    """Let the kernel take the page's messages in the thread that the page asks for, also while a cell runs.

    JupyterLab names a subshell, a thread beside the main one, in each message's header. ipykernel 7.4 overrules it by
    the shell that published last on this channel: the main one, which in "Run All" is busy until the last cell ends.
    Where other versions have no such function, or ask in another way, nothing is changed.
    """
    route = getattr(comm, "_reply_subshell_for", None)
    with contextlib.suppress(TypeError, ValueError, AttributeError):  # no such function, or one that cannot be replaced
        if list(inspect.signature(route).parameters) == ["data", "default"]:  # type: ignore[arg-type]
            comm._reply_subshell_for = lambda data, default: default  # the subshell that the header names


def _replace(name: str | None, explorer: Explorer) -> None:
    """Close what an earlier run of this cell (or an earlier run under this name) left behind."""
    where, run = cell()
    key = f"name {name}" if name else f"cell {where}"
    for old_key, old_run, old in list(_open):
        if old_key == key and (name or old_run != run):
            old.close()
    _open.append((key, run, explorer))


def cell() -> tuple[str, str]:
    """The cell that runs and this run of it; its source stands for it where the front end sends no cell id."""
    from IPython import get_ipython

    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    where = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code", "")
    return where, parent.get("header", {}).get("msg_id", "")
