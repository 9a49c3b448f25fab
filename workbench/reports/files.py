"""The rows of a sweep as files of other programs: CSV, Parquet, MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from workbench.extras import lab
from workbench.sweeps.files import unique
from workbench.sweeps.rows import Row, table
from workbench.sweeps.tables import opened

if TYPE_CHECKING:
    import pandas as pd

MLFLOW = "mlflow:"
KEY = "workbench.key"
"""The tag by which a run is found again in MLflow."""
LONGEST = 500
"""Letters of a tag and of a parameter in MLflow."""


def export(out: str | Path, target: str) -> str:
    """Write all rows of a sweep, failed runs too, to FILE.csv, FILE.parquet or mlflow:FOLDER; says what was written.

    A table has the columns of `wb.results` and `error`. Text and numbers in one column become text, and so do lists in
    CSV. In MLflow each run is one run: arguments are parameters, numbers are metrics (several dicts are steps), all
    else is a tag, a failed run has the status FAILED. Exported again, a run is replaced only if its row changed.

    >>> import tempfile, workbench as wb
    >>> def area(width, height=1): return {"area": width * height}
    >>> _ = wb.sweep(area, out := tempfile.mkdtemp(), jobs=0, width=[2, 3])
    >>> export(out, f"{out}/areas.csv").partition(" in ")[0]
    '2 rows'
    """
    rows = unique(opened(out).rows())
    if target.startswith(MLFLOW) and target != MLFLOW:
        return _mlflow(rows, Path(target.removeprefix(MLFLOW)).resolve())
    path = Path(target)
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"an export goes to FILE.csv, FILE.parquet or mlflow:FOLDER; got {target!r}")
    lines = table(rows)
    if "error" not in lines:
        lines["error"] = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            lines.to_csv(path, index=False, errors="replace")
        else:
            lab("pyarrow")
            alike(lines).to_parquet(path, index=False)
    except OSError as error:
        raise ValueError(f"the export cannot be written to {path}: {error.strerror}. Name another") from None
    return f"{len(lines):,} rows in {target}"


def alike(lines: pd.DataFrame) -> pd.DataFrame:
    """A table in whose columns all values are of one kind: what mixes kinds becomes text (JSON)."""
    made = lines.copy()
    for name in lines.columns.astype(str):
        kinds = {_kind(value) for value in lines[name] if value is not None and value == value}
        if len(kinds) > 1 or "?" in kinds:
            texts = [None if v is None or v != v else v if isinstance(v, str) else json.dumps(v) for v in lines[name]]
            made[name] = texts
        elif kinds == {"str"}:
            made[name] = [v if isinstance(v, str) else None for v in lines[name]]
    return made


def _kind(value: Any) -> str:
    """The kind of a value; of a list that of what is in it, "?" where that is mixed."""
    if isinstance(value, list):
        inner = {_kind(one) for one in value if one is not None}
        return f"list of {inner.pop() if inner else 'nothing'}" if len(inner) < 2 else "?"
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "bool"
    return "str" if isinstance(value, str) else "number"


def _mlflow(rows: list[Row], folder: Path) -> str:
    """One run of MLflow for each row, in the experiment of the function's name; a row that did not change is left."""
    tracking = lab("mlflow.tracking")
    entities = lab("mlflow.entities")
    with mock.patch.dict(os.environ, MLFLOW_ALLOW_FILE_STORE="true"):  # it only warns that this format is old
        try:
            folder.mkdir(parents=True, exist_ok=True)
            client = tracking.MlflowClient(tracking_uri=folder.as_uri())
            new = 0
            for function in dict.fromkeys(row["function"] for row in rows):
                home = client.get_experiment_by_name(function)
                where = home.experiment_id if home else client.create_experiment(function)
                known = {run.data.tags.get(KEY): run for run in _runs(client, where)}
                for row in (row for row in rows if row["function"] == function):
                    mark, old = _mark(row), known.get(row["key"])
                    if old and old.data.tags.get("workbench.row") == mark:
                        continue
                    if old:
                        client.delete_run(old.info.run_id)
                    _write(client, entities, where, row, mark)
                    new += 1
        except OSError as error:
            raise ValueError(f"the export cannot be written to {folder}: {error.strerror}. Name another") from None
    return f"{new:,} runs, {len(rows) - new:,} were there, in {MLFLOW}{folder}"


def _runs(client: Any, where: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([where], max_results=1000, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _mark(row: Row) -> str:
    """What tells a row from another one of the same run."""
    import hashlib

    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]


def _write(client: Any, entities: Any, where: str, row: Row, mark: str) -> None:
    """A row as a run that has ended."""
    from datetime import datetime

    start = int(datetime.fromisoformat(row["date"]).timestamp() * 1000)
    end = start + round(1000 * row["seconds"])
    own = {KEY: row["key"], "workbench.row": mark, "mlflow.source.git.commit": row.get("revision", "")}
    own |= {f"version.{name}": str(version) for name, version in row["versions"].items()} | {"date": row["date"]}
    own |= {"error": row["error"]} if "error" in row else {}
    numbers = [entities.Metric("seconds", float(row["seconds"]), end, 0)]
    several = row["metrics"] if isinstance(row["metrics"], list) else [row["metrics"]]
    for step, metrics in enumerate(several):
        for name, value in metrics.items():
            if isinstance(value, int | float):
                numbers.append(entities.Metric(_named(name), float(value), end, step))
            elif value is not None and step == len(several) - 1:
                own[name] = value if isinstance(value, str) else json.dumps(value)
    words = [entities.Param(_named(n), str(v)[:LONGEST]) for n, v in row["arguments"].items()]
    tags = [entities.RunTag(_named(n), v[-LONGEST:] if n == "error" else v[:LONGEST]) for n, v in own.items() if v]
    run = client.create_run(where, start_time=start, run_name=row["key"])
    for at in range(0, max(len(numbers), len(words), len(tags)), 100):
        ends = slice(at, at + 100)
        client.log_batch(run.info.run_id, metrics=numbers[ends], params=words[ends], tags=tags[ends])
    client.set_terminated(run.info.run_id, "FAILED" if "error" in row else "FINISHED", end)


def _named(name: str) -> str:
    """A name that MLflow takes: letters, digits, and a few signs."""
    plain = "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
    return plain.strip("/. ") or "_"
