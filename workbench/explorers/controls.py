"""Controls for explorers: ipywidgets that know the field's choices, and what stands for a control in a call.

Each has a `value`, so that `HBox`, `link` and `interactive_output` of ipywidgets take it, too.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeAlias

import ipywidgets
from torch import nn

from workbench import allocation as allocations
from workbench import data as sources
from workbench import models
from workbench.criteria.registry import criteria
from workbench.explorers.base import cell
from workbench.explorers.slider import Slider
from workbench.explorers.stops import stops
from workbench.types import check_choice, check_count, check_sparsity

Menu: TypeAlias = ipywidgets.Dropdown
MOST, LONGEST = 1000, 100
"""Places of a slider, and cells along a side of a raster; more could not be told apart on a screen."""


def sparsity(value: float = 0.9, *, most: float = 1000, description: str = "sparsity") -> Slider:
    """A slider of sparsity, with even steps on the log axis of compression from 1x to `most`; its words say both.

    >>> sparsity(0.9).words[20]
    '90 % removed, 10x'
    """
    check_sparsity(value)
    if isinstance(most, bool) or not isinstance(most, int | float) or not 1 < most < math.inf:
        raise ValueError(f"most is the highest compression of the slider, above 1; got {most!r}. Pass 100")
    places = {round(1 - 1 / stop, 12): stop for stop in stops(most)}
    if not any(math.isclose(share, value, abs_tol=1e-9) for share in places):
        places = dict(sorted([*places.items(), (value, 1 / (1 - value))]))
    words = [f"{_percent(share)} % removed, {stop:,.4g}x" for share, stop in places.items()]
    return Slider(places, value, words, description)


def _percent(share: float) -> str:
    """Per cent, with two digits of what is left."""
    digits = 1 if share < 0.99 else math.ceil(-math.log10(1 - share)) - 1
    return f"{100 * share:.{digits}f}".rstrip("0").rstrip(".") if share else "0"


def criterion(
    value: str = "magnitude",
    *,
    granularity: str = "weight",
    network: str | Menu | nn.Module = "",
    data: str | Menu = "digits",
    description: str = "criterion",
) -> Menu:
    """A menu of the criteria, those that you register, too; with `network` of those that can score it.

    `network` and `data` are names or their controls, which the menu then follows; `network` may be a model, too.

    >>> "obs" in criterion().options, "obs" in criterion(network="vgg").options
    (True, False)
    """

    def names() -> list[str]:
        return criteria(granularity, None if network == "" else _model(network, data))

    return _menu("criterion", value, names, description, network, data)


def allocation(value: str = "global", *, description: str = "allocation") -> Menu:
    """A menu of the allocations.

    >>> allocation("erk").value
    'erk'
    """
    return _menu("allocation", value, allocations.allocations, description)


def data(value: str = "digits", *, description: str = "data") -> Menu:
    """A menu of the data sets that load here without a download.

    >>> "moons" in data().options
    True
    """
    return _menu("data", value, sources.available, description)


def network(value: str = "", *, data: str | Menu = "digits", description: str = "network") -> Menu:
    """A menu of the networks that take `data`, a name or its control, which the menu then follows.

    >>> network(data="moons").options
    ('lenet-300-100',)
    """
    return _menu("network", value, lambda: models.fitting(sources.load(_now(data))), description, data)


def layer(
    value: str = "", *, network: str | Menu | nn.Module = "vgg", data: str | Menu = "digits", description: str = "layer"
) -> Menu:
    """A menu of the prunable layers of `network`, a model, or the name of one for `data`.

    `network` and `data` may be controls of these names, which the menu then follows.

    >>> layer(network="lenet-300-100").options
    ('fc1.weight', 'fc2.weight', 'fc3.weight')
    """

    return _menu("layer", value, lambda: list(models.prunable(_model(network, data))), description, network, data)


def _model(network: str | Menu | nn.Module, data: str | Menu) -> nn.Module:
    """A network of these names; the first that fits, while a menu has not followed."""
    if isinstance(network, nn.Module):
        return network
    task, name = sources.load(_now(data)), _now(network)
    return models.make(name if models.fits(name, task) else models.fitting(task)[0], task)


def seed(value: int = 0, *, most: int = 9, description: str = "seed") -> Slider:
    """A slider of seeds from 0 to `most`.

    >>> seed(3).value
    3
    """
    return Slider(range(check_count("most", most, least=0) + 1), check_count("seed", value, least=0), (), description)


def step(value: int = 0, *, total: int, every: int = 1, description: str = "step") -> Slider:
    """A slider of training steps from 0 to `total`, one in `every`.

    >>> step(total=100, every=50).stops
    [0, 50, 100]
    """
    places = [*range(0, check_count("total", total), check_count("every", every)), total]
    return Slider(places, value, (), description)


def pick(values: Any, value: tuple[int, int] = (0, 0), *, description: str = "cell", **follows: Any) -> Slider:
    """A raster of numbers `[rows, columns]`, of which you pick one with a click or the arrow keys.

    The control's value is `(row, column)`, both from 0. `values` may be a function of other controls,
    `pick(weights, layer=layers)`: then `weights(layer)` gives the numbers, and the raster follows the control.
    Bright is high (cividis), from the lowest number to the highest; a number that is not finite is grey.

    >>> pick([[0.1, 0.2], [0.3, 0.4]], (1, 0)).words[2]
    'row 1, column 0: 0.3'
    """

    def cells() -> tuple[list[tuple[int, int]], list[str], dict[str, Any]]:
        return _cells(values(**{name: _now(one) for name, one in follows.items()}) if callable(values) else values)

    stops, words, raster = cells()
    control = Slider(stops, value, words, description, raster=raster)

    def refresh(_: Any = None) -> None:
        stops, words, raster = cells()
        if words != control.words:
            kept = control.value if control.value in stops else (0, 0)
            control.stops = stops
            with control.hold_sync():
                control.words, control.raster, control.index = words, raster, stops.index(kept)

    return _following(control, refresh, follows.values())


def _cells(values: Any) -> tuple[list[tuple[int, int]], list[str], dict[str, Any]]:
    """The stops, words and colours of a raster."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    numbers = np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values, dtype=float)
    if numbers.ndim != 2 or not 0 < numbers.size <= MOST or max(numbers.shape) > LONGEST:
        told = f"a raster takes numbers [rows, columns], 1 to {MOST:,} of them and at most {LONGEST} a side"
        raise ValueError(f"{told}; got the shape {list(numbers.shape)}. Pass a part of them")
    rows, columns = numbers.shape
    finite = numbers[np.isfinite(numbers)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    shares = np.nan_to_num((numbers - low) / (high - low or 1), nan=0.0, posinf=0.0, neginf=0.0)
    pairs = zip(colormaps["cividis"](shares.ravel()), np.isfinite(numbers.ravel()), strict=True)
    colours = [to_hex(colour) if known else "#9aa0a6" for colour, known in pairs]
    stops = list(itertools.product(range(rows), range(columns)))
    words = [f"row {r}, column {c}: {numbers[r, c]:.3g}" for r, c in stops]
    return stops, words, {"columns": columns, "colours": colours}


def _now(choice: Any) -> Any:
    return getattr(choice, "value", choice)


def _menu(what: str, value: str, options: Callable[[], Iterable[str]], description: str, *of: Any) -> Menu:
    """A menu that follows its registry (`refresh`) and the controls `of`; the first option where `value` is empty."""
    names = list(options())
    control = Menu(options=names, value=check_choice(what, value or names[0], names), description=description)

    def refresh(_: Any = None) -> None:
        if (new := tuple(options())) != control.options:
            kept = control.value if control.value in new else new[0]
            control.options = new
            control.value = kept

    control.made_in = cell()
    return _following(control, refresh, of)


def _following(control: Any, refresh: Callable[..., None], others: Iterable[Any]) -> Any:
    """Let the control call `refresh` whenever another moves, until it is let go."""
    control.refresh = refresh
    control.follows = [other for other in others if isinstance(other, ipywidgets.Widget)]
    for other in control.follows:
        other.observe(refresh, "value")
    control.let_go = lambda: [other.unobserve(refresh, "value") for other in control.follows]
    return control


# What stands for a control in a call, as in ipywidgets.interact


def control(name: str, short: Any, default: Any = None) -> Any:
    """The control that `short` stands for, as for `ipywidgets.interact`, or `short` itself where it is one.

    `(low, high)` and `(low, high, step)` are sliders, a list or dict is a menu, a bool a box to tick, a text a field, a
    number a slider around it. `default` is where it starts, if it is one of the values.

    >>> control("k", (0, 10)).value, control("k", (0, 10), 3).value, control("on", True).value
    (5, 3, True)
    """
    if isinstance(short, ipywidgets.Widget | ipywidgets.fixed):
        if not hasattr(short, "value"):
            raise TypeError(f"a control has a value; got {type(short).__name__} for {name!r}. Pass a slider or a menu")
        if isinstance(short, ipywidgets.DOMWidget) and not getattr(short, "description", "x"):
            short.description = name
        return short
    made = _made(name, short, default)
    made.made_in = cell()
    return made


def _made(name: str, short: Any, default: Any) -> Any:
    if isinstance(short, bool):
        return ipywidgets.Checkbox(short, description=name, indent=False)
    if isinstance(short, str):
        return ipywidgets.Text(short, description=name)
    if _is_number(short):
        low, high = (0, 1) if short == 0 else sorted((-short, 3 * short))
        return _slider(name, low, high, None, short)
    if isinstance(short, tuple) and len(short) in (2, 3) and all(_is_number(x) for x in short):
        return _slider(name, short[0], short[1], short[2] if len(short) == 3 else None, default)
    if isinstance(short, Mapping) and short:
        return _list(name, list(short.items()), list(short.values()), default)
    if isinstance(short, Iterable) and (options := list(short)):
        return _list(name, options, options, default)
    raise ValueError(
        f"a control is a widget, (low, high), (low, high, step), a list, a dict, a bool, a number or a text; got "
        f"{short!r} for {name!r}. ipywidgets.fixed(x) passes x as it is"
    )


def _slider(name: str, low: float, high: float, step: float | None, value: Any) -> Slider:
    whole, span = all(isinstance(x, Integral) for x in (low, high, step or 1)), high - low
    usual = max(1, math.ceil(span / (MOST - 1))) if whole else 0.1 if span >= 2 else span / 20
    width = usual if step is None else step
    if high <= low or width <= 0:
        raise ValueError(f"a slider goes from low to high in steps above 0; got {(low, high, width)} for {name!r}")
    count = int((high - low) / width * (1 + 1e-12)) + 1
    if count > MOST:
        raise ValueError(f"a slider has at most {MOST:,} places; got {count:,} for {name!r}. Pass (low, high, step)")
    places = [int(low + i * width) if whole else float(f"{low + i * width:.12g}") for i in range(count)]
    if not _is_number(value):
        value = places[(count - 1) // 2]
    elif low < value < high and value not in places:
        places = sorted([*places, value])
    return Slider(places, value, (), name)


def _list(name: str, options: list[Any], values: list[Any], default: Any) -> Menu:
    """A menu that starts at the default, if it is one of the values, else at the first."""
    index = next((i for i, one in enumerate(values) if _same(one, default)), 0)
    return Menu(options=options, index=index, description=name, equals=_same)


def _same(one: Any, other: Any) -> bool:
    """Equal, or the same object: tables and arrays have no single answer to `==`."""
    plain = all(isinstance(x, str | Real | tuple) for x in (one, other))
    return one is other or (plain and isinstance(one, bool) == isinstance(other, bool) and bool(one == other))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
