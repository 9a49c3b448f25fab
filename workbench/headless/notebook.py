"""Notebook files: read with clear errors, named, searched for hidden errors and for what a run emitted."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.claims import CLAIM_MIME, NUMBERS_MIME
from workbench.headless.record import KEY

if TYPE_CHECKING:
    from nbformat import NotebookNode

INJECTED = "injected-parameters"  # the tag of the cell that papermill sets parameters in
WIDGETS = "application/vnd.jupyter.widget-state+json"


def read_notebook(path: str | Path) -> NotebookNode:
    """The notebook in a file, as nbformat 4; a ValueError says why it is none."""
    import nbformat

    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"a notebook is a file ending in .ipynb; {path} is {'a folder' if path.is_dir() else 'not there'}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a notebook: a notebook is JSON text; {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is not a notebook: its JSON is nested too deeply") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        raise ValueError(f"{path} is not a notebook of nbformat 4; open it in JupyterLab and save it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbformat warns where it has to give cells their ids
        try:
            nbformat.validate(content)
            notebook = nbformat.v4.upgrade(nbformat.v4.reads(json.dumps(content)))
        except Exception as error:  # it repairs before it checks, and stumbles over what it did not expect
            why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise ValueError(f"{path} is not a valid notebook of nbformat 4 ({why})") from None
    named = (notebook.metadata.get("kernelspec") or {}).get("language")
    language = named or (notebook.metadata.get("language_info") or {}).get("name") or "python"
    if str(language).lower() not in ("python", "ipython"):
        raise ValueError(f"a notebook here is in Python; {path} is in {language}")
    return notebook


def find_notebooks(names: list[str]) -> list[Path]:
    """The notebook files that `names` stand for: a file stands for itself, a folder for the notebooks in it."""
    found: list[Path] = []
    for name in names:
        path = Path(name)
        inside = sorted(p for p in path.glob("*.ipynb") if not p.is_dir()) if path.is_dir() else [path]
        if not name or not (path.is_dir() or path.is_file()):
            raise ValueError(f"a notebook is a file ending in .ipynb; {name or 'an empty name'} is not there")
        if not inside:
            raise ValueError(f"{path} holds no notebook (*.ipynb). Name notebooks, or a folder of them")
        found += inside
    return list(dict.fromkeys(found))


def bare(notebook: NotebookNode) -> NotebookNode:
    """A notebook without what an earlier run left in it: outputs, injected parameters, widgets, records."""
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("papermill", None)
    for name in (KEY, "papermill", "widgets"):
        notebook.metadata.pop(name, None)
    return notebook


def places(notebook: NotebookNode) -> dict[int, int]:
    """Index of a cell -> its number in the source, from 1: a cell of injected parameters has none."""
    kept = [i for i, cell in enumerate(notebook.cells) if INJECTED not in cell.metadata.get("tags", [])]
    return {index: number for number, index in enumerate(kept, 1)}


def title(notebook: NotebookNode, otherwise: str) -> str:
    """The first heading of a notebook, else `otherwise`."""
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((str(line.lstrip("#").strip()) for line in lines if line.startswith("#")), otherwise)


def hidden_errors(notebook: NotebookNode) -> list[str]:
    """Errors of an executed notebook that no cell shows: those inside widgets.

    A callback that raised leaves an output of type error in its Output widget, an explorer leaves a sentence in its
    `status.error`. papermill and nbconvert pass both by. One line per error; an empty list where there is none.
    It sees only what the widget state holds: a notebook executed without saving it looks clean.

    >>> import nbformat
    >>> hidden_errors(nbformat.v4.new_notebook())
    []
    """
    widgets = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    found = []
    for widget in widgets.values():
        state, kind = widget.get("state", {}), widget.get("model_name", "widget")
        errors = [output for output in state.get("outputs") or () if output.get("output_type") == "error"]
        found += [f"{kind}: {error.get('ename')}: {error.get('evalue')}" for error in errors]
        status = state.get("status")
        if isinstance(status, dict) and status.get("error"):
            found.append(f"{state.get('_anywidget_id') or kind}: {status['error']}")
    return found


def numbers(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What an executed notebook recorded, in order: each claim's row and each `claims.show_number` as {name: value}.

    Two faces of one notebook ran the same experiment where these lists are equal.
    """
    found = []
    for data in _bundles(notebook):
        found += data.get(CLAIM_MIME, [])
        found += [data[NUMBERS_MIME]] if NUMBERS_MIME in data else []
    return found


def claim_rows(notebook: NotebookNode) -> list[dict[str, Any]]:
    """The rows of the claims that an executed notebook judged, in order; what is no row is left out."""
    found = [data.get(CLAIM_MIME) for data in _bundles(notebook)]
    return [row for rows in found if isinstance(rows, list) for row in rows if isinstance(row, dict)]


def results(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Every output of a notebook, in order."""
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def _bundles(notebook: NotebookNode) -> list[dict[str, Any]]:
    """The data of every rich output."""
    return [output.get("data", {}) for output in results(notebook)]
