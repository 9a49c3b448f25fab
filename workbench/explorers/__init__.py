"""Interactive views. One function shows the same view with three faces: a live widget, a picture, a static page."""

import sys

from workbench.explorers.explore import explore
from workbench.explorers.faces import FACES, face
from workbench.explorers.playground import playground
from workbench.explorers.watching import watch

# The functions hide the packages of their names, and carry what those hold.
for _function in (explore, playground):
    _function.__dict__ = vars(sys.modules[f"workbench.explorers.{_function.__name__}"])

__all__ = ["FACES", "explore", "face", "playground", "watch"]
