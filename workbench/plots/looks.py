"""One colour and one marker for a name, in every picture: live, drawn and static."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Look(NamedTuple):
    """A colour (hexadecimal) and a marker (as matplotlib names it)."""

    colour: str
    marker: str


# Okabe and Ito's colours that stand out on white, and Tol's muted ones.
LOOKS: dict[str, Look] = {
    "random": Look("#5c6370", "o"),
    "magnitude": Look("#0072B2", "s"),
    "snip": Look("#D55E00", "^"),
    "grasp": Look("#CC79A7", "D"),
    "synflow": Look("#009E73", "v"),
    "force": Look("#E69F00", "P"),
    "ntk-sap": Look("#56B4E9", "X"),
    "prospr": Look("#000000", "*"),
    "erk": Look("#8a5a00", "h"),
    "smart-ratio": Look("#7b3fa0", "<"),
    "layer": Look("#3b3b3b", ">"),
    "uniform+": Look("#CC79A7", "d"),
}
# For names without a look of their own: Tol's muted colours, none of which is that of a criterion.
SPARE = tuple(
    Look(colour, marker)
    for colour, marker in (
        ("#332288", "o"),
        ("#882255", "s"),
        ("#44AA99", "^"),
        ("#999933", "D"),
        ("#CC6677", "v"),
        ("#117733", "P"),
    )
)


def looks(names: Iterable[object]) -> dict[str, Look]:
    """The look of every name of one picture, no two alike; a name such as "snip, 20 rounds" looks as "snip" does.

    >>> looks(["snip", "my own"])["snip"].colour
    '#D55E00'
    """
    found: dict[str, Look] = {}
    spare = 0
    for name in dict.fromkeys(str(name) for name in names):
        words = name.replace(",", " ").split()
        known = LOOKS.get(words[0] if words else "")
        if known is None or known in found.values():
            known, spare = SPARE[spare % len(SPARE)], spare + 1
        found[name] = known
    return found
