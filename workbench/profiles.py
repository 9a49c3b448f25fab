"""How much a notebook computes: one plan for each profile."""

from collections.abc import Mapping
from typing import Any

from workbench.types import check_choice


def plan(
    profile: str,
    *,
    smoke: Mapping[str, Any],
    lecture: Mapping[str, Any],
    full: Mapping[str, Any],
    **given: Any,
) -> dict[str, Any]:
    """The numbers of one profile as a dict; a value that you give yourself wins over the profile's.

    The three profiles have the same names. A given value of None means: take the profile's.

    >>> plan("smoke", smoke={"seeds": 1, "epochs": 2}, lecture={"seeds": 3, "epochs": 6},
    ...      full={"seeds": 5, "epochs": None}, epochs=4, seeds=None)
    {'seeds': 1, 'epochs': 4}
    """
    profiles = {"smoke": smoke, "lecture": lecture, "full": full}
    chosen = dict(profiles[check_choice("profile", profile, profiles)])
    for name, values in profiles.items():
        if odd := sorted({*values} ^ {*chosen}):
            raise ValueError(
                f"the profiles of a plan have the same names; {', '.join(odd)} is in only one of {profile} and {name}. "
                "Add it to the other, or remove it"
            )
    for name in given:
        check_choice("a value that you give to a plan", name, chosen)
    return chosen | {name: value for name, value in given.items() if value is not None}
