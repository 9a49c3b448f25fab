"""What a visitor chose: the controls of a picture function, by name, and what they say."""

import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

import ipywidgets

from workbench.explorers.controls import Slider, control
from workbench.explorers.explore.shown import Shown, shown
from workbench.types import check_choice

Values = dict[str, Any]


class Moment(NamedTuple):
    """A setting: its values, as JSON, in words, by the controls' places, and the call."""

    values: Values
    state: Values
    words: str
    key: str
    code: str


class Choices:
    """A picture function and its controls. `asked` holds what stands for each control, and the argument's default."""

    def __init__(self, picture: Callable[..., Any], asked: Mapping[str, tuple[Any, Any]]):
        self.picture = picture
        inner = getattr(picture, "func", picture)
        call = getattr(inner, "__call__", None)  # noqa: B004  (of an object that can be called)
        self.staged = inspect.isgeneratorfunction(inner) or inspect.isgeneratorfunction(call)
        made = {name: control(name, short, default) for name, (short, default) in asked.items()}
        self.fixed = {name: one.value for name, one in made.items() if isinstance(one, ipywidgets.fixed)}
        self.controls: dict[str, Any] = {name: one for name, one in made.items() if name not in self.fixed}

    @property
    def title(self) -> str:
        """The name of the picture function, in words."""
        inner = getattr(self.picture, "func", self.picture)
        name = getattr(inner, "__name__", type(inner).__name__)
        return "explorer" if name == "<lambda>" else name.replace("_", " ")

    def values(self) -> Values:
        """The value of every control."""
        return {name: one.value for name, one in self.controls.items()}

    def stages(self, values: Values) -> Iterator[tuple[float | None, Any]]:
        """How far a generator is, or what there is to show; one thing if the function is none."""
        given = _called(self.picture, {**self.fixed, **values})
        if not inspect.isgenerator(given):
            yield None, given
            return
        empty = True
        for stage in given:
            far = _progress(stage)
            empty = empty and far is not None
            yield far, stage
        if empty:
            raise TypeError(
                "a generator yields what it shows; got only numbers from 0 to 1, which are its progress. Yield a text, "
                "such as f'{x:.1%}'"
            )

    def draw(self, values: Values, ratio: float = 1.5) -> Shown:
        """The last of what the picture function gives."""
        last: Any = None
        for far, stage in self.stages(values):
            last = stage if far is None else last
        return shown(last, ratio)

    def moment(self) -> Moment:
        """The setting of now, which later moves do not change."""
        return Moment(self.values(), self.state(), self.setting(), ",".join(map(str, self.places())), self.code())

    # As JSON

    def state(self) -> Values:
        """The setting as JSON: values, or the labels of values that JSON does not know."""
        return {name: _plain(one) for name, one in self.controls.items()}

    def set(self, state: Mapping[str, Any]) -> None:
        """Move the controls to a setting that `state` gave; keys may be missing. Later ones may follow earlier ones."""
        if not isinstance(state, Mapping):
            raise TypeError(
                f"a state is a dict of control -> value; got {type(state).__name__}. Pass what state() gives"
            )
        for name in state:
            check_choice("control", name, self.controls)
        left = dict(state)
        for _ in range(len(state)):  # menus that follow others take their value once these have moved
            for name in list(left):
                try:
                    _move(name, self.controls[name], left[name])
                    del left[name]
                except ValueError as error:
                    refused = error
        if left:
            raise refused

    # In words, and by place

    def setting(self) -> str:
        """The setting in words."""
        return ", ".join(
            f"{name} {_words(one)[_place(one)] if _words(one) else one.value}" for name, one in self.controls.items()
        )

    def menu(self) -> list[dict[str, Any]]:
        """What a page has to know of each control: its label, its options in words, and whether they form a scale."""
        return [
            {
                "label": one.description or name,
                "words": _words(one) or [str(one.value)],
                "slides": isinstance(one, Slider),
                "raster": getattr(one, "raster", {}),
            }
            for name, one in self.controls.items()
        ]

    def places(self) -> list[int]:
        """The place of every control's value among its options, 0 where there is no list of them."""
        return [_place(one) if _words(one) else 0 for one in self.controls.values()]

    def at(self, places: Mapping[int, int] | list[int]) -> Values:
        """The values at these places, without moving a control."""
        return {
            name: _options(one)[place] if _words(one) else one.value
            for (name, one), place in zip(self.controls.items(), list(places), strict=True)
        }

    def grid(self) -> list[list[int]]:
        """All places of every control; only its own where there is no list, or where another control follows it."""
        followed = [other for one in self.controls.values() for other in getattr(one, "follows", ())]
        lists = [[] if one in followed else list(range(len(_words(one)))) for one in self.controls.values()]
        return [places or [here] for places, here in zip(lists, self.places(), strict=True)]

    def code(self) -> str:
        """The call that gives the picture shown."""
        inner = getattr(self.picture, "func", self.picture)
        name, module = getattr(inner, "__qualname__", type(inner).__name__), getattr(inner, "__module__", "")
        name = f"wb.{module.split('.')[1]}.{name}" if module.startswith("workbench.") else name
        lines = []
        if not inspect.isfunction(inner) or "<" in name:
            name, lines = "picture", ["# picture: the function that you passed to wb.explore"]
        given = {**getattr(self.picture, "keywords", {}), **self.fixed, **self.values()}
        args = [
            *(repr(a) for a in getattr(self.picture, "args", ())),
            *(f"{key}={value!r}" for key, value in given.items()),
        ]
        return "\n".join([*lines, f"{name}({', '.join(args)})"])


def _called(picture: Callable[..., Any], values: Values) -> Any:
    """What the function returns; where it returns nothing, the figures that it left open in pyplot."""
    before, pyplot = set(_open_figures()), sys.modules.get("matplotlib.pyplot")
    quiet = mock.patch.object(pyplot, "show") if pyplot else contextlib.nullcontext()
    with quiet:  # of plt.show, which would put the figure under the cell
        given = picture(**values)
    left = [figure for number, figure in _open_figures().items() if number not in before] if given is None else []
    return tuple(left) if left else given


def _open_figures() -> dict[int, Any]:
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return {n: manager.canvas.figure for n, manager in helpers.Gcf.figs.items()} if helpers else {}


def _progress(stage: Any) -> float | None:
    """A stage that is a number from 0 to 1: how far the generator is."""
    number = isinstance(stage, int | float) and not isinstance(stage, bool)
    return float(stage) if number and 0 <= stage <= 1 else None


def _options(one: Any) -> list[Any]:
    """All values of a control, [] where there is no list of them."""
    if isinstance(one, Slider):
        return one.stops
    if isinstance(one, ipywidgets.Checkbox | ipywidgets.ToggleButton):
        return [False, True]
    labels = getattr(one, "_options_values", None)  # of menus, radio and toggle buttons
    return list(labels) if labels is not None and hasattr(one, "index") and not isinstance(one.index, tuple) else []


def _words(one: Any) -> list[str]:
    if isinstance(one, Slider):
        return list(one.words)
    if isinstance(one, ipywidgets.Checkbox | ipywidgets.ToggleButton):
        return ["off", "on"]
    return list(map(str, one._options_labels)) if _options(one) else []


def _place(one: Any) -> int:
    return int(one.value) if isinstance(one.value, bool) else one.index or 0


def _plain(one: Any) -> Any:
    try:
        json.dumps(one.value)
        return list(one.value) if isinstance(one.value, tuple) else one.value
    except TypeError:
        return _words(one)[_place(one)] if _words(one) else str(one.value)


def _move(name: str, one: Any, value: Any) -> None:
    options, words = _options(one), _words(one)
    if options and not isinstance(one, Slider) and value not in options and value not in words:
        check_choice(name, value, words)
    if options and value not in options and value in words:
        value = options[words.index(value)]
    one.value = tuple(value) if isinstance(one.value, tuple) and isinstance(value, list) else value
