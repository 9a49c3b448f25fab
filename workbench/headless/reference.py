"""The reference: every public name of the package with its docstring, as pages made by pdoc."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from workbench.files import make_folder, write_whole


def write_reference(folder: Path) -> Path:
    """Write the reference into a folder; the path of its first page. The pages open from disk, without a network.

    A name is public if it is in `workbench.__all__`; each module among these names gets a page of its own.
    """
    import pdoc

    package = importlib.import_module("workbench")
    public = {name: getattr(package, name) for name in package.__all__}
    vars(package).update(public)  # pdoc looks there for those that are imported when first used
    held = [package, *(room for room in public.values() if isinstance(room, ModuleType))]
    modules = {module.__name__: pdoc.doc.Module(module) for module in held}
    pdoc.render.configure(docformat="markdown")
    make_folder(folder / package.__name__)
    for name, module in modules.items():
        write_whole(folder / f"{name.replace('.', '/')}.html", pdoc.render.html_module(module, modules))
    write_whole(folder / "search.js", pdoc.render.search_index(modules))
    return folder / f"{package.__name__}.html"
