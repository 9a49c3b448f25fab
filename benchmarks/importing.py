"""What `import workbench` takes beyond torch itself, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import Row

PROGRAM = """
import time, torch
start = time.process_time()
import workbench
print(time.process_time() - start)
"""


def rows(quick: bool) -> Iterator[Row]:
    def seconds() -> float:
        result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        return float(result.stdout)

    yield Row("import workbench, beyond torch", min(seconds() for _ in range(1 if quick else 5)), "s", 0.3)
