"""Randomness with a name, the device, and the versions a result depends on."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator

import torch

from workbench.types import check_count


def generator(seed: int, use: str = "") -> torch.Generator:
    """A CPU generator of its own: draws from it leave the global random state alone.

    Draw on the CPU and move the result: every device sees the same numbers. Without a `use` the stream is that of
    `torch.manual_seed(seed)`; each `use` has its own, for draws from one seed that know nothing of each other.

    >>> torch.equal(torch.rand(3, generator=generator(0)), torch.rand(3, generator=generator(0)))
    True
    """
    seed = check_count("seed", seed, least=0)
    if use:
        seed = int.from_bytes(hashlib.sha256(f"{use} {seed}".encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block that cannot take a generator under a global seed, and put the global random state back.

    >>> with seeded(0):
    ...     a = torch.rand(2)
    >>> with seeded(0):
    ...     b = torch.rand(2)
    >>> torch.equal(a, b)
    True
    """
    seed = check_count("seed", seed, least=0)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.default_generator.manual_seed(seed)  # a step of training takes this path: torch.manual_seed is far slower
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        yield


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device to put data and models on: the one asked for, else CUDA if there is one, else the CPU.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device is a torch device such as 'cpu' or 'cuda'; got {device!r}") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} asks for CUDA; torch sees none here. Pass device='cpu' or leave it out")
    return chosen


SMALL = 4e9
"""Multiply-adds (as `models.work` bounds them) from which several threads are worth their start."""


@contextlib.contextmanager
def threads(work: float = 0.0) -> Iterator[None]:
    """Run a block of so many multiply-adds on one thread where that is little work, and put torch's number back.

    Threads that wait for each other at every small operation are far slower than one as soon as anything runs beside
    them (three epochs of `vgg` on digits: 10 s on one thread, 20 to 60 s on two), and one always gives the same bits.
    Larger work takes as many threads as torch is set to; the environment variable WORKBENCH_THREADS overrides both.

    >>> with threads():
    ...     torch.get_num_threads()
    1
    """
    before, asked = torch.get_num_threads(), os.environ.get("WORKBENCH_THREADS")
    if asked and not (asked.isdecimal() and int(asked)):
        raise ValueError(f"WORKBENCH_THREADS is a whole number of at least 1; got {asked!r}. Unset it for the default")
    try:
        torch.set_num_threads(int(asked) if asked else 1 if work < SMALL else before)
        yield
    finally:
        torch.set_num_threads(before)


def processor() -> str:
    """The processor, the instruction set that torch uses on it, and the GPU that this process has used.

    Each rounds sums differently: an untrained score may change its rank, a trained accuracy is another draw.

    >>> torch.backends.cpu.get_cpu_capability() in processor()
    True
    """
    names = [_model_name(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        names.append(torch.cuda.get_device_name())
    return ", ".join(names)


@functools.cache
def _model_name() -> str:
    """The processor's name as its system tells it; the architecture (x86_64, arm64) where it tells none."""
    import platform
    import subprocess

    name = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if platform.system() == "Linux":
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
                name = next((line.partition(":")[2] for line in file if line.startswith("model name")), "")
        elif platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout
    return " ".join(name.split()) or platform.processor() or platform.machine() or "unknown processor"


def versions() -> dict[str, str]:
    """What a number may depend on: the versions of Python, the workbench and its libraries, and the `processor`.

    >>> sorted(versions())
    ['numpy', 'pandas', 'processor', 'python', 'scikit-learn', 'torch', 'workbench']
    """
    return {**_libraries(), "processor": processor()}


@functools.cache
def _libraries() -> dict[str, str]:
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for package in ("pruning-workbench", "torch", "numpy", "pandas", "scikit-learn"):
        label = package.removeprefix("pruning-")
        try:
            found[label] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[label] = "not installed"
    return found
