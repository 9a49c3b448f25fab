"""What a picture shows, in words."""

from typing import Any


def describe(picture: Any) -> str:
    """The titles and labels of a figure or Axes."""
    figure = picture.get_figure(root=True) if hasattr(picture, "get_figure") else picture
    said = [
        f"{ax.get_title(loc='left') or ax.get_title() or 'Picture'}: {ax.get_ylabel()} against {ax.get_xlabel()}."
        for ax in figure.axes
    ]
    return " ".join(said)
