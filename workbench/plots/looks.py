"""One colour and one marker for a name, in every picture: live, drawn and static."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Look(NamedTuple):
    """A colour (hexadecimal, for a white ground) and a marker (as matplotlib names it)."""

    colour: str
    marker: str

    @property
    def dark(self) -> str:
        """The colour for a dark ground: 45 % of the way to white.

        >>> Look("#000000", "o").dark
        '#737373'
        """
        parts = [int(self.colour[i : i + 2], 16) for i in (1, 3, 5)]
        return "#" + "".join(f"{round(part + 0.45 * (255 - part)):02x}" for part in parts)


Looks = Mapping[str, tuple[str, str]]  # name -> colour and marker, such as a `Look`
KEPT, REMOVED, OFF_PATH = "#0072B2", "#9a9a9a", "#D55E00"  # the colours of weights
MARKERS = tuple("os^DvPX*h<>dp")
# Okabe and Ito's colours first (yellow, orange and sky blue, too light on white, are darker here), then Tol's.
LOOKS: dict[str, Look] = {
    # criteria for weights
    "random": Look("#5c6370", "o"),
    "magnitude": Look("#0072B2", "s"),
    "snip": Look("#D55E00", "^"),
    "grasp": Look("#CC79A7", "D"),
    "synflow": Look("#009E73", "v"),
    "force": Look("#8a5a00", "P"),
    "ntk-sap": Look("#3399CC", "X"),
    "prospr": Look("#000000", "*"),
    "fisher": Look("#72190E", "h"),
    "lamp": Look("#225555", "<"),
    "lrp": Look("#004488", ">"),
    "obd": Look("#EE6677", "d"),
    "obs": Look("#222255", "p"),
    "phew": Look("#663333", "o"),
    "taylor": Look("#AA4499", "s"),
    # criteria for channels and units
    "apoz": Look("#225522", "^"),
    "bn-scale": Look("#666633", "D"),
    "cp": Look("#1965B0", "v"),
    "fpgm": Look("#994455", "P"),
    "gradient": Look("#CC3311", "X"),
    "hrank": Look("#882E72", "*"),
    "l1": Look("#009988", "h"),
    "l2": Look("#4477AA", "<"),
    "thinet": Look("#BB5566", ">"),
    # allocations
    "er": Look("#1965B0", "o"),
    "erk": Look("#882E72", "h"),
    "global": Look("#3399CC", "s"),
    "igq": Look("#009988", "p"),
    "layer": Look("#3b3b3b", ">"),
    "smart-ratio": Look("#CC3311", "<"),
    "smart-ratio-vgg": Look("#72190E", "d"),
    "uniform+": Look("#EE6677", "v"),
    # methods
    "iterative": Look("#009E73", "o"),
    "one-shot": Look("#D55E00", "s"),
    "one-shot, as long": Look("#0072B2", "^"),
    # timings
    "early": Look("#3399CC", "<"),
    "after": Look("#D55E00", ">"),
    "fine-tuned": Look("#994455", "d"),
    "rewound": Look("#882E72", "p"),
    "rate-rewound": Look("#222255", "h"),
    # controls of a ticket, and training without one
    "ticket": Look("#009E73", "d"),
    "reinitialised": Look("#D55E00", "X"),
    "shuffled": Look("#3b3b3b", "^"),
    "scratch": Look("#3399CC", "p"),
    # methods during training
    "dpf": Look("#0072B2", "o"),
    "dsr": Look("#EE6677", "X"),
    "gradual": Look("#009988", "P"),
    "group-lasso": Look("#994455", "o"),
    "hard-filter": Look("#222255", "s"),
    "iterative-taylor": Look("#997700", "h"),
    "l0": Look("#72190E", "v"),
    "movement": Look("#663333", "D"),
    "rigl": Look("#AA4499", "D"),
    "set": Look("#8a5a00", "v"),
    "slimming": Look("#666633", "o"),
    "snfs": Look("#225522", "p"),
    "soft-filter": Look("#3399CC", "^"),
    "sr-ste": Look("#CC3311", "P"),
    "static": Look("#5c6370", "s"),
    "ste": Look("#4477AA", "o"),
    "str": Look("#D55E00", "o"),
    "top-kast": Look("#225555", "^"),
    # one-shot methods
    "adaprune": Look("#AA4499", "<"),
    "obc": Look("#222255", "X"),
    "ria": Look("#8a5a00", "^"),
    "sparsegpt": Look("#009E73", "D"),
    "wanda": Look("#D55E00", "v"),
    # networks
    "lenet-300-100": Look("#0072B2", "D"),
    "lenet-5": Look("#3399CC", "v"),
    "resnet-20": Look("#D55E00", "P"),
    "resnet-32": Look("#AA4499", "X"),
    "resnet-56": Look("#72190E", "*"),
    "vgg": Look("#009E73", "h"),
    "vgg-16": Look("#225555", "o"),
    # data
    "cifar10": Look("#D55E00", "<"),
    "cifar100": Look("#72190E", ">"),
    "circles": Look("#CC79A7", "o"),
    "digits": Look("#0072B2", "d"),
    "fashion-mnist": Look("#AA4499", "p"),
    "mnist": Look("#3399CC", "o"),
    "moons": Look("#009E73", "s"),
    "spirals": Look("#997700", "^"),
    "svhn": Look("#000000", "D"),
}
# For all other names; no name above has one of these colours.
SPARE = ("#332288", "#999933", "#882255", "#117733", "#CC6677", "#7b3fa0", "#DC050C", "#997755")


def name_of(label: object) -> str:
    """The name in `LOOKS` that a label begins with; the label itself where there is none.

    >>> [name_of(label) for label in ("snip, 20 rounds", "synflow-100", "erk", "SNIP in 5 rounds", "my own")]
    ['snip', 'synflow', 'erk', 'snip', 'my own']
    """
    whole = str(label).strip().lower()
    word = (whole.replace(",", " ").split() or [""])[0]
    return next((name for name in (whole, word, word.rstrip("0123456789").rstrip("-")) if name in LOOKS), str(label))


def looks(names: Iterable[object]) -> dict[str, Look]:
    """The look of every name (as a string) of one picture, no two alike, whatever their order.

    A name of `LOOKS` has its own look, and so has a label that begins with one ("snip, 20 rounds") where it is free.
    Others take a spare colour, chosen by their letters, with another marker where the colours do not suffice. Misleads
    where markers are not drawn: some names share a colour, but no two criteria and no two allocations do.

    >>> looks(["snip", "snip, 20 rounds", "my own"])["snip"]
    Look(colour='#D55E00', marker='^')
    """
    wanted = list(dict.fromkeys(str(name) for name in names))
    found: dict[str, Look] = {}
    for name in sorted(wanted, key=lambda name: (name not in LOOKS, name)):
        own = LOOKS.get(name_of(name))
        options = itertools.chain([own] if own else [], _spares(name))
        found[name] = next((look for look in options if look not in found.values()), Look(SPARE[0], MARKERS[0]))
    return {name: found[name] for name in wanted}


def palette(names: Iterable[object]) -> dict[Any, str]:
    """Name -> colour of what is in a picture, which is what seaborn takes as `palette=`; no two look alike.

    >>> palette(["snip", "snip", "synflow"])
    {'snip': '#D55E00', 'synflow': '#009E73'}
    """
    every = list(dict.fromkeys(names))
    return {name: look.colour for name, look in zip(every, looks(every).values(), strict=True)}


def markers(names: Iterable[object]) -> dict[Any, str]:
    """Name -> marker of what is in a picture, which is what seaborn takes as `markers=` beside `style=`.

    >>> markers(["snip", "snip", "synflow"])
    {'snip': '^', 'synflow': 'v'}
    """
    every = list(dict.fromkeys(names))
    return {name: look.marker for name, look in zip(every, looks(every).values(), strict=True)}


def _spares(name: str) -> Iterable[Look]:
    """All spare looks, from a place that the name's letters give; the first ones differ in colour."""
    start = sum(name.encode(errors="replace"))  # of neighbours ("arm 1", "arm 2") no two begin at the same place
    for turn, step in itertools.product(range(len(MARKERS)), range(len(SPARE))):
        at = start + step
        yield Look(SPARE[at % len(SPARE)], MARKERS[(at % len(SPARE) + turn) % len(MARKERS)])
