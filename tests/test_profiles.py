"""The plan of a profile, and what wins over it."""

from typing import Any

import pytest

import workbench as wb

PROFILES: dict[str, Any] = {
    "smoke": {"seeds": 1, "epochs": 2},
    "lecture": {"seeds": 3, "epochs": 6},
    "full": {"seeds": 5, "epochs": None},
}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_gives_its_own_numbers(profile: str) -> None:
    plan = wb.plan(profile, **PROFILES)
    assert plan == PROFILES[profile]
    plan["seeds"] = 99
    assert PROFILES[profile]["seeds"] != 99


def test_what_is_given_wins_and_none_is_not_given() -> None:
    assert wb.plan("lecture", **PROFILES, seeds=0, epochs=None) == {"seeds": 0, "epochs": 6}
    assert wb.plan("full", **PROFILES, epochs=None) == {"seeds": 5, "epochs": None}


def test_wrong_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"profile is one of full, lecture, smoke; got 'smok'. Did you mean 'smoke'"):
        wb.plan("smok", **PROFILES)
    with pytest.raises(ValueError, match=r"is one of epochs, seeds; got 'seed'. Did you mean 'seeds'"):
        wb.plan("smoke", **PROFILES, seed=3)
    with pytest.raises(ValueError, match=r"have the same names; rounds is in only one of smoke and full"):
        wb.plan("smoke", **{**PROFILES, "full": {"seeds": 5, "epochs": None, "rounds": 1}})
