"""Looks: one for a name in every picture, no two alike, seen on white and on dark, by every eye."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import workbench as wb
from workbench.allocation import allocations
from workbench.data import sources
from workbench.plots.looks import LOOKS, MARKERS, SPARE, Look, looks, name_of

KINDS = {
    "criteria": [*wb.criteria(), *wb.criteria("channel"), "gradient"],
    "allocations": allocations(),
    "networks": wb.networks(),
    "data": sources(),
    "methods": ["iterative", "one-shot", "one-shot, as long"],
    "one-shot methods": wb.one_shot_methods(),
}
MAIN = ["random", "magnitude", "snip", "grasp", "synflow"]
DARK = "#181c23"  # the playground's dark ground
# How eyes without red or without green cones see linear RGB (Machado et al. 2009, doi:10.1109/TVCG.2009.113).
EYES = {
    "all": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, two: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances, the lighter above."""
    high, low = sorted((linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def seen(colour: str, eye: str) -> np.ndarray:
    """Oklab coordinates of a colour as an eye sees it (Ottosson 2020); steps of 0.02 are just noticed."""
    cones = [[0.41222, 0.53633, 0.05145], [0.2119, 0.6807, 0.1074], [0.0883, 0.28172, 0.62998]]
    lab = [[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]]
    return np.array(lab) @ np.cbrt(np.array(cones) @ np.clip(np.array(EYES[eye]) @ linear(colour), 0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_names_look_alike(kind: str) -> None:
    found = looks(KINDS[kind])
    assert len(set(found.values())) == len(set(KINDS[kind]))
    if kind in ("criteria", "allocations", "one-shot methods"):  # drawn as bars, too: without markers
        assert len({look.colour for look in found.values()}) == len(found)


def test_looks_are_a_table_of_different_pairs_and_spare_colours_are_nobodys() -> None:
    assert len(set(LOOKS.values())) == len(LOOKS)
    assert {look.marker for look in LOOKS.values()} <= set(MARKERS)
    assert not {look.colour.lower() for look in LOOKS.values()} & {colour.lower() for colour in SPARE}


@pytest.mark.parametrize("colour", sorted({look.colour for look in LOOKS.values()} | set(SPARE)))
def test_colours_stand_out_on_white_and_on_dark(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 3
    assert contrast(Look(colour, "o").dark, DARK) >= 3


def test_the_formula_of_contrast_on_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WebAIM's example of a near miss


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("names", [MAIN, KINDS["allocations"], list(SPARE)], ids=["criteria", "allocations", "spare"])
def test_bars_differ_for_every_eye(names: list[str], eye: str) -> None:
    colours = names if names == list(SPARE) else [LOOKS[name].colour for name in names if name in LOOKS]
    places = [seen(colour, eye) for colour in colours]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(places, 2)) > 0.04


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("snip", "snip"),
        ("snip, 20 rounds", "snip"),
        ("synflow-100", "synflow"),
        ("synflow in 100 rounds", "synflow"),
        ("NTK-SAP, batch, one cut", "ntk-sap"),
        ("erk, random", "erk"),
        ("resnet-20", "resnet-20"),
        ("resnet-21", "resnet-21"),
        ("one-shot, as long", "one-shot, as long"),
        ("snippet", "snippet"),
        ("", ""),
    ],
)
def test_a_label_leads_to_its_name(label: str, name: str) -> None:
    assert name_of(label) == name


def test_known_names_always_look_the_same_and_nothing_hangs_on_the_order() -> None:
    names = ["mine", "snip, 20 rounds", "theirs", "snip", "snip in 5 rounds", 7, *map(str, range(90)), "erk, random"]
    found = looks(names)
    assert list(found) == list(dict.fromkeys(map(str, names)))
    assert found["snip"] == LOOKS["snip"]
    assert found["erk, random"] == LOOKS["erk"]
    assert looks(["snip, 20 rounds"])["snip, 20 rounds"] == LOOKS["snip"]
    assert len(set(found.values())) == len(found)
    assert looks(reversed(names)) == found


def test_eight_names_of_ones_own_have_eight_colours() -> None:
    assert {look.colour for look in looks(f"arm {i}" for i in range(len(SPARE))).values()} == set(SPARE)


def test_matplotlib_draws_every_marker() -> None:
    from matplotlib.markers import MarkerStyle

    assert all(MarkerStyle(marker).is_filled() for marker in MARKERS)
