"""A function on its way to a worker of a cluster, with its code."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

from workbench.sweeps.points import Run


class Sealed:
    """A function that is opened where it is called: a worker of the cluster hands it on to a run's process unread.

    A function of a module that is not installed travels with its code, so that workers do not need its file.

    >>> def area(width, height): return {"area": width * height}
    >>> Sealed(area, None)(width=2, height=3)
    {'area': 6}
    """

    def __init__(self, function: Run, own: Any):
        self.__name__ = function.__name__
        self._paths = [path for path in sys.path if path]
        self._text = _pickled(function, own)

    def __call__(self, **arguments: Any) -> Any:
        return self._opened()(**arguments)

    @property
    def batched(self) -> Any:
        """The function's batched form."""
        return self._opened().batched

    def _opened(self) -> Any:
        from workbench.criteria.registry import add_criteria

        sys.path += [path for path in self._paths if path not in sys.path]
        function, own = pickle.loads(self._text)
        add_criteria(own or {})
        return function


def _pickled(function: Run, own: Any) -> bytes:
    import sysconfig

    import cloudpickle

    module = sys.modules.get(getattr(function, "__module__", ""))
    file = getattr(module, "__file__", None) or ""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    near = [str(Path(__file__).parents[1])]  # the package: it is the same there
    travels = file and not any(Path(file).is_relative_to(folder) for folder in installed + near)
    if travels:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps((function, own))
    finally:
        if travels:
            cloudpickle.unregister_pickle_by_value(module)
