"""What was computed is kept for a while, so that the way back is a look-up."""

import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """The values used last, up to a total `room` of their sizes (and always the newest two); for any thread.

    >>> cache = Cache[str](room=3)
    >>> for name in "abc":
    ...     _ = cache.put(name, name.upper(), size=1 if name == "a" else 2)
    >>> [cache.get(name) for name in "abc"]
    [None, 'B', 'C']
    """

    def __init__(self, room: int):
        self._room = room
        self._values: OrderedDict[Any, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Value | None:
        """The value of `key`, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Any, value: Value, size: int) -> Value:
        """Keep a value; returns it."""
        with self._lock:
            self._values[key] = (value, size)
            self._values.move_to_end(key)
            while len(self._values) > 2 and sum(size for _, size in self._values.values()) > self._room:
                self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._values.clear()
