"""A control over places in order: a slider, or a raster of them."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import anywidget
import traitlets

from workbench.explorers import page
from workbench.explorers.base import answer_where_asked, cell


class Slider(anywidget.AnyWidget):
    """A slider over `stops` with a name and words for screen readers, which ipywidgets' own sliders lack.

    `value` is one of the stops; another value moves to the nearest. `words` says each stop in words.
    """

    _esm = page.module("kit", "raster", "slider")
    _css = page.style("kit", "explore")
    description = traitlets.Unicode().tag(sync=True)
    words: traitlets.List[str] = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int().tag(sync=True)
    disabled = traitlets.Bool().tag(sync=True)
    raster = traitlets.Dict().tag(sync=True)  # columns, and the colours of the stops
    value = traitlets.Any()

    def __init__(
        self, stops: Iterable[Any], value: Any, words: Sequence[str] = (), description: str = "", **traits: Any
    ):
        self.stops, self.made_in = list(stops), cell()
        index = _nearest(self.stops, value)
        told = words or [f"{stop:,}" if isinstance(stop, Integral) else f"{stop:.6g}" for stop in self.stops]
        super().__init__(description=description, words=list(told), index=index, value=self.stops[index], **traits)

    def open(self) -> None:
        """Open the channel to the page, which a running cell does not hold up."""
        super().open()
        answer_where_asked(self.comm)

    @traitlets.validate("value")
    def _to_a_stop(self, proposal: Any) -> Any:
        return self.stops[_nearest(self.stops, proposal["value"])]

    @traitlets.observe("index")
    def _moved(self, change: Any) -> None:
        self.value = self.stops[min(change["new"], len(self.stops) - 1)]  # the page may know the stops of before

    @traitlets.observe("value")
    def _set(self, change: Any) -> None:
        self.index = self.stops.index(change["new"])


def _nearest(places: Sequence[Any], value: Any) -> int:
    if isinstance(places[0], tuple):  # of a raster
        asked = tuple(value) if hasattr(value, "__iter__") else value
        if asked not in places:
            raise ValueError(f"a cell is (row, column) from (0, 0) to {places[-1]}; got {value!r}. Pass one of these")
        return places.index(asked)
    try:
        return min(range(len(places)), key=lambda i: abs(places[i] - value))
    except TypeError as error:
        told = f"a slider's value is a number near its stops, {places[0]} to {places[-1]}; got {value!r}"
        raise TypeError(f"{told}. Pass a number") from error
