"""The playground's live face: a widget for JupyterLab and Voila."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import traitlets

from workbench.explorers import page
from workbench.explorers.base import Explorer
from workbench.explorers.page import IDLE
from workbench.explorers.playground import ahead, code, save
from workbench.explorers.playground.choices import Choices, check_state
from workbench.explorers.playground.session import Session
from workbench.explorers.playground.still import SCRIPTS, STYLES, pictured
from workbench.explorers.playground.view import numbers, times
from workbench.explorers.worker import Work, drain

PAUSE = 0.15
"""Seconds that a slider must rest before work starts which the next move would throw away."""


class Playground(Explorer):
    """Choices come from the page, a frame goes back: at once where it is a look-up, else from the worker.

    Scoring goes between two batches of a training.
    """

    _esm = page.module(*SCRIPTS)  # as text: watched files would keep closed widgets
    _css = page.style(*STYLES)
    slots = ("scoring", "training")

    menu = traitlets.Dict().tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    runs = traitlets.Dict().tag(sync=True)
    curve: traitlets.List[Any] = traitlets.List().tag(sync=True)
    baseline = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session, choices: Choices, precompute: bool = False, name: str | None = None):
        self.session, self.precompute = session, precompute
        self._framed: list[dict[str, Any]] = []
        self._seed = choices.seed
        slow = any(side.timing in ("early", "after") for side in choices.sides)  # in the worker, after a first picture
        first = drain(session.prepare(replace(choices, timing="before", k=None, compare=None) if slow else choices))
        choices = replace(choices, layer=first.layer, compression=first.compression, request=int(slow))
        super().__init__(
            name,
            menu=session.menu(first),
            choices=asdict(choices),
            frame=session.frame(first, measure=True),
            curve=session.points.curve(choices),
            baseline=session.points.baseline(choices),
        )
        self._shown = first
        self.observe(self._chosen, "choices")
        with self.guard():
            self._show()
            self._train_if_asked(choices)
        self._follow_cells(True)

    # Choices in, frames out

    def state(self) -> dict[str, Any]:
        """The setting as JSON, for `from_state` or `playground(state=...)`."""
        return self.session.films.told(check_state(self.choices)).state()

    def from_state(self, state: Mapping[str, Any]) -> None:
        """Show a setting that `state()` gave (keys may be missing). Raises ValueError for what does not exist.

        A setting with a `step` is trained first, unless it was.
        """
        with self.lock:
            now = check_state(self.choices)
            chosen = self.session.check(check_state(state, start=replace(now, layer="", step=None)))
            if "layer" not in state and now.layer in self.session.at_init(chosen).sizes:
                chosen = replace(chosen, layer=now.layer)
            self._seed = chosen.seed if "seed" in state else self._seed
            self.choices = asdict(replace(chosen, theme=now.theme, request=now.request + 1))
            self._train_if_asked(chosen)

    def still(self) -> dict[str, Any]:
        """What is shown as HTML, PNG and words."""
        return pictured(self.session, self._shown, self.frame)

    def numbers(self) -> dict[str, Any]:
        """The numbers of the picture shown."""
        return numbers(self._shown.state(), self.frame)

    def _chosen(self, change: Any) -> None:
        with self.guard():
            if change.new["request"] != change.old["request"]:  # a message stays until the next choice
                self.put(status={**self.status, "message": ""})
            self._show()

    def _show(self) -> None:
        choices = check_state(self.choices)
        if not self.session.ready(choices):
            self.worker.submit("scoring", partial(self._prepare, choices), delay=PAUSE if choices.rounds > 1 else 0)
            return
        self.worker.cancel("scoring")
        self._shown = choices
        self._draw_points(choices)
        self.put(
            menu=self.session.menu(choices), frame=self.session.frame(choices), runs=self.session.films.page(choices)
        )
        if self._framed != _settings(choices):
            self._framed = []
            self.put(frames={})
        working = self.worker.busy("training")
        self.status = {**(self.status if working else IDLE), "message": self.status["message"], "error": ""}
        if any(side["pending"] for side in self.frame["sides"]) or (self.precompute and not self._framed):
            self.worker.submit("scoring", partial(self._complete, choices), delay=PAUSE)

    def _prepare(self, choices: Choices, stale: Callable[[], bool]) -> Work[None]:
        fitted = yield from self.session.prepare(choices, self.report(stale))
        with self.lock:
            if stale():
                return
            if fitted == choices:
                self._show()
            else:
                lost = []
                for key, cannot in (("criterion", "cannot score"), ("granularity", "cuts no layer of")):
                    before, after = ({getattr(side, key) for side in one.sides} for one in (choices, fitted))
                    lost += (
                        [f"{' and '.join(sorted(gone))} {cannot} {fitted.network}"] if (gone := before - after) else []
                    )
                if lost:
                    self.status = {**self.status, "message": "; ".join(lost)}
                self.choices = asdict(fitted)

    def _complete(self, choices: Choices, stale: Callable[[], bool]) -> Work[None]:
        """What comes after the frame: the effective sparsity where it is slow, and the frames of every stop."""
        frame = self.session.frame(choices, measure=True)
        with self.lock:
            if stale():
                return
            self.frame = frame
        yield
        if self.precompute and all(side.rounds == 1 for side in choices.sides) and not self._framed:
            made = []
            for side in choices.sides:
                made.append((yield from ahead.setting(self.session, side, self.menu["stops"])))
            with self.lock:
                if not stale():
                    self._framed = _settings(choices)
                    self.frames = {"request": choices.request, "settings": made}

    def _draw_points(self, choices: Choices) -> None:
        points = self.session.points
        self.put(curve=points.curve(choices), baseline=points.baseline(choices))

    def _follow_cells(self, follow: bool) -> None:
        """After every cell, offer what it registered, drop what it took back, and score again what it changed."""
        from IPython import get_ipython

        if shell := get_ipython():
            (shell.events.register if follow else shell.events.unregister)("post_run_cell", self._cell_ran)

    def _cell_ran(self, result: Any) -> None:
        with self.guard():
            self.put(menu=self.session.menu(self._shown))
            choices = check_state(self.choices)
            left = self.session.without_the_gone(choices)
            if left != choices:
                known = self.session.criteria(choices)
                gone = ", ".join(side.criterion for side in choices.sides if side.criterion not in known)
                self.choices = asdict(replace(left, request=choices.request + 1))
                self.status = {**self.status, "message": f"{gone} is no longer registered"}
            elif choices == self._shown and not self.session.ready(choices):
                self._show()

    def close(self) -> None:
        """End the worker, remove the widget and let go of what was computed."""
        if self.comm is not None:
            self._follow_cells(False)
            super().close()
            self.session.forget()

    # Messages of the page

    def on_train(self) -> None:
        """Train a point of the trade-off for each setting shown, with the first seed that none of them has."""
        choices = check_state(self.choices)
        self._submit(choices, self.session.points.next_seed(self._seed, *choices.sides))

    def _train_if_asked(self, choices: Choices) -> None:
        if not choices.step or self.session.films.recorded(choices):
            return
        if self.worker.busy("training"):
            self.status = {**self.status, "message": "another training runs: press Train when it is over"}
        else:
            self._submit(choices, choices.seed)

    def _submit(self, choices: Choices, seed: int) -> None:
        if not self.worker.busy("training"):
            self.worker.submit("training", partial(self._train, choices, seed))
            self.status = {**IDLE, "busy": "training"}

    def _train(self, choices: Choices, seed: int, stale: Callable[[], bool]) -> Work[None]:
        said: list[str] = []
        for side in choices.sides:
            with self.lock:
                if stale():
                    return
                self.put(status={**self.status, "message": "; ".join([*said, f"{side.name}, {side.compression:g}x"])})
            made, value, reached = yield from self.session.train(side, seed, self.report(stale))
            with self.lock:
                if stale():
                    return
                self.session.points.add(made, value, reached)
                self._draw_points(check_state(self.choices))
            name = self.session.points.measure(made.data)
            measured = f"{100 * value:.1f} %" if name == "accuracy" else f"{value:.4g}"
            said.append(f"{made.name}, {times(reached)}, seed {made.seed}: validation {name} {measured}")
        with self.lock:
            if stale():
                return
            now = check_state(self.choices)
            if self.session.films.alike(now, choices):  # still shown: from now on with the seed that was trained
                self.choices = asdict(replace(now, seed=seed, request=now.request + 1))
            self.status = {**IDLE, "message": "; ".join(said)}

    def on_cancel(self) -> None:
        """Stop training and scoring; where choices had not been answered, go back to those that were."""
        self.worker.cancel("scoring", "training")
        now = check_state(self.choices)
        if now.setting() != self._shown.setting() or now.compression != self._shown.compression:
            self.choices = asdict(replace(self._shown, theme=now.theme, request=now.request))
        self.status = {**IDLE, "message": "Cancelled"}

    def on_clear_points(self) -> None:
        """Remove the points trained here; recorded ones stay."""
        self.session.points.clear()
        self._draw_points(check_state(self.choices))

    def on_code(self) -> None:
        """Show the lines that reproduce the view."""
        self.send({"kind": "text", "title": "Show code", "text": code.lines(self.session, check_state(self.choices))})

    def on_state(self) -> None:
        """Show the setting as JSON, to copy or to change."""
        self.send({"kind": "text", "title": "State", "text": json.dumps(self.state(), indent=1), "editable": True})

    def on_save_table(self) -> None:
        """Write the layer table as CSV."""
        self.save(partial(save.table, self.session, self.session.films.told(self._shown)))

    def on_save_figure(self) -> None:
        """Write the view as PNG."""
        self.save(partial(save.figure, self.session, self.session.films.told(self._shown), self.frame))

    def on_save_masks(self) -> None:
        """Write the masks as safetensors."""
        self.save(partial(save.masks, self.session, self.session.films.told(self._shown)))


def _settings(choices: Choices) -> list[dict[str, Any]]:
    """What frames made ahead belong to: a pinned setting that is the one shown needs no others."""
    return [side.setting() for side in choices.sides]
