"""The numeric tests once more under the code that the libraries keep for other processors."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processors import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
NUMERIC = ["tests/criteria", "tests/metrics", "tests/masks/test_masks.py"]
SLOW = "not compiled and not cifar and not phew and not Markov and not contract"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the settings are those of x86 processors")
@pytest.mark.parametrize("name", SETTINGS)
def test_the_numeric_tests_pass_under(name: str) -> None:
    environment = {**os.environ, **SETTINGS[name], "OMP_NUM_THREADS": "1"}
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    got = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True
    ).stdout
    if got.strip().lower() != SETTINGS[name]["ATEN_CPU_CAPABILITY"]:
        pytest.skip(f"this processor has no {name}: torch takes {got.strip()}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", SLOW, *NUMERIC]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:]
    assert " passed" in result.stdout.splitlines()[-1]
