"""What an installation of the package is. The text of this file also runs on workers of a cluster that have another
Python or no such package, so it needs nothing but the standard library."""

from __future__ import annotations


def fingerprint() -> dict[str, str]:
    """Python's minor version, those of torch and of the package, and a digest of the package's source.

    >>> fingerprint()["Python"].startswith("3.")
    True
    """
    import hashlib
    import importlib.util
    import sys
    from importlib import metadata
    from pathlib import Path

    found = {"Python": "{}.{}".format(*sys.version_info[:2])}
    for name in ("torch", "pruning-workbench"):
        try:
            found[name] = metadata.version(name).partition("+")[0]  # builds for CPU and CUDA count as one
        except metadata.PackageNotFoundError:
            found[name] = "none"
    spec, digest = importlib.util.find_spec("workbench"), hashlib.sha256()
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {**found, "source": digest.hexdigest()[:12] if spec else "none"}
