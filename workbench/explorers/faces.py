"""Which of its three faces an explorer shows."""

import os

from workbench.types import check_choice

FACES = ("live", "picture", "site")


def face() -> str:
    """The face that explorers show, from the environment variable WORKBENCH_FACE: "live" (default), "picture", "site".

    >>> face() in FACES
    True
    """
    return check_choice("WORKBENCH_FACE", os.environ.get("WORKBENCH_FACE") or "live", FACES)
