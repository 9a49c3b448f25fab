"""Write requirements.lock: what is installed here, pinned, for three systems and every supported Python.

Run it with the project's own Python after a change of pyproject.toml and an installation by hand:

    .venv/bin/python tools/lock.py

The lock is the transitive closure of pyproject.toml's dependencies and extras, and nothing else. The CUDA packages
that PyTorch's Linux wheels ask for are left out; a package that only another system needs is looked up with pip.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection
from email.parser import Parser
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {
    "linux": {
        "platform_system": "Linux",
        "os_name": "posix",
        "platforms": ["manylinux_2_28_x86_64", "manylinux2014_x86_64"],
    },
    "darwin": {"platform_system": "Darwin", "os_name": "posix", "platforms": ["macosx_14_0_arm64"]},
    "win32": {"platform_system": "Windows", "os_name": "nt", "platforms": ["win_amd64"]},
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLACES = frozenset((system, python) for system in SYSTEMS for python in PYTHONS)
CUDA = re.compile(r"(nvidia|cuda|triton|pytorch-triton)(-|$)")
HEADER = """\
# Written by tools/lock.py: the closure of pyproject.toml (with all extras), without CUDA packages.
# pip install --no-deps -r requirements.lock    (on Linux install the CPU build of PyTorch first: see the README)
"""


def environment(system: str, python: str) -> dict[str, str]:
    """The values of environment markers on a system under CPython."""
    facts = SYSTEMS[system]
    return {
        "sys_platform": system,
        "platform_system": str(facts["platform_system"]),
        "os_name": str(facts["os_name"]),
        "platform_machine": "arm64" if system == "darwin" else "AMD64" if system == "win32" else "x86_64",
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
    }


def declared(root: Path = ROOT) -> dict[str, list[Requirement]]:
    """The requirements of pyproject.toml, group by group: the core, then its extras."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


Facts = tuple[str, tuple[Requirement, ...]]
"""A package's version and what it requires."""


@cache
def installed(name: str) -> Facts:
    """The facts of a package as installed here; PackageNotFoundError if it is not."""
    found = distribution(name)
    return Version(found.version).public, tuple(map(Requirement, found.requires or ()))


@cache
def newest(name: str, system: str, python: str) -> Facts:
    """The facts of a package's newest wheel for a system and a Python."""
    with tempfile.TemporaryDirectory() as folder:
        platforms = [word for platform in SYSTEMS[system]["platforms"] for word in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
        subprocess.run([*command, *platforms, "--python-version", python, name], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with ZipFile(wheel) as archive:
            (path,) = (entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA"))
            message = Parser().parsestr(archive.read(path).decode())
    return str(message["Version"]), tuple(map(Requirement, message.get_all("Requires-Dist") or ()))


def facts(name: str, system: str, python: str) -> Facts:
    """The facts of a package: as installed here, else of its newest wheel for that system and Python."""
    try:
        return installed(name)
    except PackageNotFoundError:
        return newest(name, system, python)


def closure(
    roots: list[Requirement], system: str, python: str, facts: Callable[[str, str, str], Facts] = facts
) -> dict[str, str]:
    """Name -> version of everything that `roots` need on a system under a Python, CUDA packages left out."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(roots)
    place = environment(system, python)
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if CUDA.match(name) or (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        versions[name], requirements = facts(name, system, python)
        for requirement in requirements:
            extras = ("", *wanted.extras)
            if requirement.marker is None or any(requirement.marker.evaluate({**place, "extra": e}) for e in extras):
                waiting.append(requirement)
    return versions


def marker(places: set[tuple[str, str]]) -> str:
    """The environment marker that holds in exactly these (system, Python) pairs; empty if in all."""
    systems = [system for system in SYSTEMS if any(place[0] == system for place in places)]
    pythons = [python for python in PYTHONS if any(place[1] == python for place in places)]
    if places != {(system, python) for system in systems for python in pythons}:
        raise ValueError(f"no simple marker for {sorted(places)}: teach tools/lock.py to write one")
    parts = [among("sys_platform", systems, SYSTEMS), among("python_version", pythons, PYTHONS)]
    return " and ".join(part for part in parts if part)


def among(variable: str, values: Collection[str], options: Collection[str]) -> str:
    """The part of a marker that says a variable has one of `values`; empty if these are all options."""
    others = [option for option in options if option not in values]
    if len(values) == 1:
        return f'{variable} == "{next(iter(values))}"'
    return " and ".join(f'{variable} != "{other}"' for other in others)


def lines() -> list[str]:
    """The pins, sorted by name."""
    roots = [requirement for group in declared().values() for requirement in group]
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for system, python in sorted(PLACES):
        for pin in closure(roots, system, python).items():
            found.setdefault(pin, set()).add((system, python))
    pins = []
    for (name, version), places in sorted(found.items()):
        where = marker(places)
        pins.append(f"{name}=={version}" + (f" ; {where}" if where else ""))
    return pins


if __name__ == "__main__":
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines()) + "\n", encoding="utf-8", newline="\n")
