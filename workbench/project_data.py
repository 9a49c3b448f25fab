"""The project's own data (claims, recorded rows): the top-level `data/` of a checkout, or inside an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def project_data(*parts: str, package: Path = PACKAGE) -> Path:
    """The path of a shipped file or folder; FileNotFoundError with what there is if it does not exist.

    An installed wheel holds the data as `workbench/_shipped`; a checkout holds it as `data/` beside the package.

    >>> project_data("README.md").name
    'README.md'
    """
    inside = package / "_shipped"
    root = inside if inside.is_dir() else package.parent / "data"
    path = root.joinpath(*parts)
    if path.exists():
        return path
    folder = next(parent for parent in path.parents if parent.is_dir())
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
    raise FileNotFoundError(
        f"{'/'.join(parts) or 'data'} is not among the shipped data; {folder} holds {there}. "
        "If the folder itself is missing, install the package again"
    )
