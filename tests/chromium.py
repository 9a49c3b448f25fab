"""The browser that tests drive: Debian's Chromium, or a reason why it is not there."""

import os
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def unavailable(reason: str) -> None:
    """Skip on a user's machine; fail in continuous integration, where everything has to be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
