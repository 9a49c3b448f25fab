"""One way to find things by name: criteria, networks, data, allocations, granularities, experiments."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from workbench.types import check_choice

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """Name -> entry, in the order of the names; an error for a wrong name gives the nearest name and all names.

    The workbench's own entries stay. A user's (`own=True`) may be removed, and added again, so that a cell runs twice.

    >>> shapes: Registry[int] = Registry("shape")
    >>> shapes.add("square", 4)
    >>> shapes["square"], list(shapes)
    (4, ['square'])
    >>> shapes["squares"]
    Traceback (most recent call last):
    ValueError: shape is one of square; got 'squares'. Did you mean 'square'?
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, Entry] = {}
        self._own: set[str] = set()

    def add(self, name: str, entry: Entry, own: bool = False) -> None:
        """Register an entry; `own` says that it is the user's."""
        self._entries[self.check_free(name)] = entry
        if own:
            self._own.add(name)

    def check_free(self, name: str) -> str:
        """Return `name` if an entry can be added under it."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"the {self.what}'s name is a non-empty string; got {name!r}. Pass one such as 'my-name'")
        if name in self._entries and name not in self._own:
            raise ValueError(f"{name!r} is the workbench's own {self.what} and stays as it is. Choose another name")
        return name

    def remove(self, name: str) -> None:
        """Forget an entry of the user's."""
        check_choice(self.what, name, self._own)
        self._own.discard(name)
        del self._entries[name]

    def own(self) -> dict[str, Entry]:
        """The user's entries."""
        return {name: self._entries[name] for name in sorted(self._own)}

    def __getitem__(self, name: str) -> Entry:
        return self._entries[check_choice(self.what, name, self._entries)]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
