"""Any function that returns a picture, a table or a text becomes an explorer."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from workbench.explorers.faces import face
from workbench.extras import check_lab
from workbench.types import check_choice

OPTIONS = ("state", "name", "ahead", "refresh")


def explore(
    picture: Callable[..., Any] | None = None,
    /,
    *,
    state: Mapping[str, Any] | None = None,
    name: str | None = None,
    ahead: bool = False,
    refresh: Callable[[], Any] | None = None,
    **controls: Any,
) -> Any:
    """An explorer of `picture(**choices)`: a control for each choice, and what the function returns below.

    `picture` returns an Axes or Figure, a table (DataFrame, Styler), a text, a number, or a tuple of them. It runs in a
    worker, the newest choices win. A generator function yields stages: numbers from 0 to 1 are its progress, all else
    replaces what is shown; it starts with Run and stops with Cancel. Each control is one of `wb.controls`, a widget of
    ipywidgets with a `value`, or short for one: `(low, high)`, `(low, high, step)`, a list, a dict, a bool, a number, a
    text; `ipywidgets.fixed(x)` is x without a control. `state` sets controls, as `state()` gives it. `ahead=True` draws
    the pictures of all settings ahead, so that the controls answer in the browser. `refresh` is a function without
    arguments that says what the picture depends on, such as a file's time: it is asked every second, and where its
    answer is another one, the picture is drawn again; None: it will not change any more. A cell that runs again closes
    the explorer it made; `name` does the same across cells. Without `picture` it is a decorator.
    Raises ValueError for a control that the function lacks, TypeError for what cannot be shown.

    The face is chosen by WORKBENCH_FACE. "live" is a widget; "picture" is drawn once, with numbers for headless runs;
    "site" is a page without a kernel, whose controls move through stored pictures as far as a budget goes.

    Misleads where the function keeps something between its calls: what is shown then depends on the way there.

    >>> import os
    >>> os.environ["WORKBENCH_FACE"] = "picture"
    >>> print(explore(lambda k: f"{k} squared is {k * k}", k=(0, 10)).sentence)
    k 5: 5 squared is 25
    >>> del os.environ["WORKBENCH_FACE"]
    """
    if picture is None:
        return functools.partial(explore, state=state, name=name, ahead=ahead, refresh=refresh, **controls)
    check_lab("ipywidgets", "anywidget", "IPython")
    from workbench.explorers.explore.choices import Choices

    takes = inspect.signature(picture).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    for given in () if anything else controls:
        check_choice("control", given, takes)
    for given, p in takes.items():
        if p.kind is p.POSITIONAL_ONLY:
            raise TypeError(
                f"a picture function is called by name; {given!r} has none. Remove the / from its arguments"
            )
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and given not in controls:
            own = " It is an option of wb.explore: rename the argument." if given in OPTIONS else ""
            raise ValueError(f"every argument of the picture has a control or a default; {given!r} has none.{own}")
    choices = Choices(picture, {n: (short, getattr(takes.get(n), "default", None)) for n, short in controls.items()})
    if state is not None:
        choices.set(state)
    if refresh is not None and not callable(refresh):
        raise TypeError(f"refresh is a function without arguments; got {refresh!r}. Write refresh=lambda: ...")
    if refresh is not None and (ahead or choices.staged):
        own = "ahead=True draws pictures that do not change" if ahead else "a generator function starts with Run"
        raise ValueError(f"refresh draws a picture again while it is shown, but {own}. Leave one of them out")
    shown = face()
    if shown == "live":
        from workbench.explorers.explore.live import Explore

        return Explore(choices, ahead, name, refresh)
    from workbench.explorers.explore.still import show

    return show(choices, shown)
