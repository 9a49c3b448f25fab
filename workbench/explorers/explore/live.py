"""The live face of `wb.explore`: a widget for JupyterLab, Notebook, VS Code and Voila."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from workbench.explorers import page
from workbench.explorers.base import Explorer, answer_where_asked, cell
from workbench.explorers.explore.choices import Choices, Moment, Values
from workbench.explorers.explore.shown import Shown, bundle, shown
from workbench.explorers.explore.still import SCRIPTS, STYLES, menu, numbers, once, stored
from workbench.explorers.files import fit, write
from workbench.explorers.page import IDLE
from workbench.explorers.worker import Work, drain

LOOK, REST = 1.0, 4
"""Seconds between two looks at what a picture depends on; a look, and a drawing, is followed by a rest of at least so
many times the processor's time that it took. The last picture, behind which nothing changes, does not wait for it."""
SLOW = 0.3
"""Seconds after which a picture that is still being drawn says so."""
EMPTY = Shown([], "", [])
LONGEST = 180
"""Bytes of a file's name, without its end."""


class Explore(Explorer):
    """The controls' values go to the picture function in the worker; what it returns comes back as a frame."""

    _esm = page.module(*SCRIPTS)
    _css = page.style(*STYLES)
    slots = ("drawing", "ahead", "looking")

    controls = traitlets.List(traitlets.Instance(ipywidgets.Widget)).tag(sync=True, **ipywidgets.widget_serialization)
    menu = traitlets.Dict().tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        choices: Choices,
        ahead: bool = False,
        name: str | None = None,
        refresh: Callable[[], Any] | None = None,
    ):
        self._refresh, self._depends, self._rested = refresh, refresh() if refresh else None, 0.0
        self.choices, self._ratio, self._ahead = choices, 1.5, ahead and not choices.staged
        self._found = EMPTY if choices.staged else drain(once(choices))
        controls = list(choices.controls.values())
        self._asked_for = self._shown_at = now = choices.moment()
        super().__init__(
            name,
            controls=controls,
            menu=menu(choices, [[place] for place in choices.places()], live=True),
            frame=_framed(self._found, now, 0),
        )
        self._own = [one for one in controls if getattr(one, "made_in", None) == cell()]
        for one in controls:
            answer_where_asked(one.comm)
            one.observe(self._moved, "value")
        self._follow_cells(True)
        if self._ahead:
            self.worker.submit("ahead", self._store)
        elif choices.staged:
            self.status = {**IDLE, "message": "Press Run"}
        if self._depends is not None:
            self.worker.submit("looking", self._look, LOOK)

    def state(self) -> Values:
        """The setting as JSON, for `from_state` or `explore(state=...)`."""
        return self.choices.state()

    def from_state(self, state: Mapping[str, Any]) -> None:
        """Move the controls to a setting that `state()` gave; keys may be missing."""
        self.choices.set(state)

    def numbers(self) -> dict[str, Any]:
        """The setting, the words and the tables of what is shown."""
        return numbers(self._shown_at.state, self._found)

    def _moved(self, _: Any) -> None:
        with self.guard():
            now = self.choices.moment()
            if self.choices.staged:
                if not self.worker.busy("drawing"):
                    same = now.key == self._shown_at.key and self._found.parts
                    self.status = IDLE if same else {**IDLE, "message": "Press Run for this setting"}
            elif now.state != self._asked_for.state:
                self._asked_for, self.status = now, {**self.status, "error": ""}
                self.worker.submit("drawing", partial(self._draw, now))

    def _draw(self, moment: Moment, stale: Callable[[], bool]) -> Work[None]:
        """Draw a setting: one picture, or the stages of a generator, the last of which stays."""
        tell, slow = self.report(stale), threading.Timer(SLOW, lambda: self._say_drawing(stale))
        slow.daemon = True
        slow.start()
        try:
            yield  # a newer setting may have come
            for far, stage in self.choices.stages(moment.values):
                if far is None:
                    self._put(shown(stage, self._ratio), moment, stale)
                else:
                    tell("running", far)
                yield
        finally:
            slow.cancel()
            if not stale():  # a job that was dropped may end under other locks
                with self.lock:
                    if not stale() and not self.status["error"]:
                        self.status = IDLE

    def _say_drawing(self, stale: Callable[[], bool]) -> None:
        with self.lock:
            if not stale() and not self.choices.staged and self.worker.busy("drawing"):
                self.status = {**self.status, "busy": "drawing", "progress": 0.0}

    def _put(self, found: Shown, moment: Moment, stale: Callable[[], bool]) -> None:
        with self.lock:
            if not stale():
                self._found, self._shown_at = found, moment
                self.frame = _framed(found, moment, self.frame["request"] + 1)

    def _look(self, stale: Callable[[], bool]) -> Iterator[None]:
        """Draw again if what the picture depends on is another thing now, and look again later, unless it has ended."""
        yield
        start, now, rest = time.thread_time(), self._depends, LOOK
        try:
            now = self._refresh() if self._refresh else None
            rest = max(LOOK, REST * (time.thread_time() - start))
            if now != self._depends and (now is None or time.monotonic() >= self._rested):
                moment = self.choices.moment()
                found = self.choices.draw(moment.values, self._ratio)
                self._rested = time.monotonic() + REST * (time.thread_time() - start)
                with self.lock:
                    if stale():
                        return
                    if moment.key == self.choices.moment().key and found.parts != self._found.parts:
                        self._found, self._shown_at = found, moment
                        self.frame = _framed(found, moment, self.frame["request"] + 1) | {"again": True}
                    self._depends, self.status = now, {**self.status, "error": ""}
        except Exception as error:
            if not self.status["error"]:  # a file that is half written now is whole later
                self.fail(error)
            now = ()
        if now is not None and not stale():
            self.worker.submit("looking", self._look, rest)

    def _store(self, stale: Callable[[], bool]) -> Iterator[None]:
        """Draw the pictures of all settings ahead."""
        frames, free = yield from stored(self.choices)
        with self.lock:
            if not stale():
                self.frames, self.menu = frames, menu(self.choices, free, live=True)

    def _follow_cells(self, follow: bool) -> None:
        """After every cell, offer what it registered."""
        from IPython import get_ipython

        if shell := get_ipython():
            (shell.events.register if follow else shell.events.unregister)("post_run_cell", self._cell_ran)

    def _cell_ran(self, _: Any) -> None:
        with self.guard():
            before = self.choices.menu()
            for one in self.controls:
                getattr(one, "refresh", lambda: None)()
            if self._ahead and self.choices.menu() != before:  # frames are found by place
                self.frames = {}
                self.worker.submit("ahead", self._store)

    def still(self) -> dict[str, Any]:
        """What is shown as HTML, PNG and words."""
        return bundle(self._found, self.choices.title, self._shown_at.words) if self._found.parts else {}

    def close(self) -> None:
        """End the worker, remove the widget and the controls that its cell made."""
        if self.comm is None:
            return
        self._follow_cells(False)
        controls = list(self.controls)
        for one in controls:
            one.unobserve(self._moved, "value")
        super().close()
        for one in self._own:
            getattr(one, "let_go", lambda: None)()
            layout, looks = getattr(one, "layout", None), getattr(one, "style", None)
            one.close()
            for part in (layout, looks):
                if isinstance(part, ipywidgets.Widget):
                    part.close()

    # Messages of the page

    def on_screen(self, ratio: float) -> None:
        """Draw for a screen with so many device pixels a pixel."""
        self._ratio = min(2.0, max(1.0, float(ratio)))

    def on_run(self) -> None:
        """Start the generator with the setting of now."""
        self.status = {**IDLE, "busy": "running"}
        self.worker.submit("drawing", partial(self._draw, self.choices.moment()))

    def on_cancel(self) -> None:
        """Stop what is running."""
        self.worker.cancel("drawing")
        self.status = {**IDLE, "message": "Cancelled"}

    def on_code(self) -> None:
        """Show the call that gives this picture."""
        self.send({"kind": "text", "title": "Show code", "text": self._shown_at.code})

    def on_state(self) -> None:
        """Show the setting as JSON, to copy or to change."""
        self.send({"kind": "text", "title": "State", "text": json.dumps(self.state(), indent=1), "editable": True})

    def on_save(self) -> None:
        """Write what is shown: pictures as PNG, tables as CSV, texts as text, with the setting in their names."""
        found, setting = self._found, self._shown_at.state
        if not found.parts:
            raise ValueError("there is nothing to save yet. Press Run first")
        parts = (self.choices.title, *(re.sub(r" -", " minus ", f"{k} {v}") for k, v in setting.items()))
        stem = "-".join(map(fit, parts)).encode()[:LONGEST].decode(errors="ignore")
        self.save(partial(_saved, found, stem))


def _framed(found: Shown, moment: Moment, request: int) -> dict[str, Any]:
    words = ": ".join(filter(None, (moment.words, found.words))) if found.parts else ""
    return {"request": request, "parts": found.parts, "words": words, "key": moment.key}


def _saved(found: Shown, stem: str) -> str:
    files = [write(stem, ".png", base64.b64decode(p["data"])) for p in found.parts if p["kind"] == "image"]
    files += [write(stem, ".csv", pd.DataFrame(table).to_csv(index=False).encode()) for table in found.tables]
    texts = "\n".join(part["text"] for part in found.parts if part["kind"] == "text")
    files += [write(stem, ".txt", texts.encode())] if texts else []
    return f"Saved as {' and '.join(name for name, _ in files)}"
