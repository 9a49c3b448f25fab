"""Interactive views. One function shows the same view with three faces: a live widget, a picture, a static page."""

import sys

from workbench.explorers.faces import FACES, face
from workbench.explorers.playground import playground

# The function hides the package of its name, and carries what that holds.
playground.__dict__ = vars(sys.modules["workbench.explorers.playground"])

__all__ = ["FACES", "face", "playground"]
