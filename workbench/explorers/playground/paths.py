"""The effective sparsity of what is shown, in time: at once where it is quick, later where it is not."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from workbench import metrics
from workbench.explorers.cache import Cache
from workbench.explorers.playground.scored import Prepared
from workbench.types import Masks

AT_ONCE = 0.01
"""Seconds that a look-up may spend on the effective sparsity; what takes longer comes after the frame."""


class Paths:
    """Effective sparsities that were found, and how long each network took (for ever, where it hides its paths)."""

    def __init__(self) -> None:
        self.found: Cache[float] = Cache(5_000)
        self._seconds: dict[Any, float] = {}
        self._probing = threading.Lock()

    def seen(self, pair: Any) -> bool:
        """Whether paths can be seen through the network of this pair of data and network, as far as it was tried."""
        return self._seconds.get(pair, 0.0) < math.inf

    def effective(self, pair: Any, key: Any, net: Prepared, masks: Callable[[], Masks], measure: bool) -> float | None:
        """The effective sparsity of what `key` names, if it is known, quick, or to be measured; else None."""
        known = self.found.get(key)
        slow = self._seconds.get(pair, 0.0) > AT_ONCE
        if known is not None or not self.seen(pair) or (slow and not measure):
            return known
        with self._probing:
            start = time.perf_counter()
            try:
                known = metrics.effective_sparsity(net.probe, masks(), net.example)
            except ValueError:  # paths cannot be seen through this network
                self._seconds[pair] = math.inf
                return None
            took = time.perf_counter() - start
        self._seconds[pair] = min(took, self._seconds.get(pair, took))
        return self.found.put(key, known, 1)
