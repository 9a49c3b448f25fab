"""Grids over the parameters of a notebook: what is checked first, what is written and where, what fails alone."""

import json
import os

import cloudpickle
import nbformat
import pytest
from nbformat.v4 import new_markdown_cell
from notebook_maker import code, gone, make, text_of

from workbench.claims import CLAIM_MIME, NUMBERS_MIME
from workbench.cli import main
from workbench.headless import NotebookRun, sweep_notebook, worker
from workbench.headless.record import read_record
from workbench.sweeps import key, results

PARTS = """\
import os
if seeds == 1:
    with open("pid", "w") as file: file.write(str(os.getpid()))
    os.kill(os.getppid(), 9)
1 / seeds
print(sparsity, seeds, os.environ["WORKBENCH_FACE"])
from IPython.display import display
display({"application/vnd.workbench.numbers+json": {"kept": 1 - sparsity}, "text/plain": "kept"}, raw=True)"""

quiet = {"report": lambda _: None}


@pytest.fixture
def instant(monkeypatch):
    """Runs without kernels: what the next executed notebooks show, by MIME type."""
    shown = []

    def execute(job, scratch, progress):
        os.environ["WORKBENCH_FACE"] = job.face
        os.chdir(job.source.parent)
        notebook = nbformat.v4.reads(job.text)
        notebook.cells[1].outputs = [nbformat.v4.new_output("display_data", data) for data in shown]
        return notebook, []

    monkeypatch.setattr(worker, "_execute", execute)
    return shown


def swept(path, out, *grids, **options):
    return sweep_notebook(path, out, *grids, jobs=0, **quiet | options)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A sweep with real kernels: a run whose cell fails, one whose process is killed, two that finish."""
    folder = tmp_path_factory.mktemp("several")
    path = make(folder / "lesson.ipynb", PARTS)
    rows = []
    options = {"jobs": 2, "on_row": lambda row, done, total: rows.append((row, done, total)), **quiet}
    grids = [{"sparsity": ["0.5", 0.75], "seeds": [2]}, {"seeds": [0, 1]}]
    with pytest.raises(RuntimeError, match="2 of 4 runs failed") as caught:
        sweep_notebook(path, folder / "out", *grids, **options)
    return folder / "out", rows, str(caught.value)


def test_every_point_is_a_row_with_its_files(several):
    out, rows, _ = several
    table = results(out)
    assert table["sparsity"].tolist() == [0.5, 0.75]
    assert table["kept"].tolist() == [0.5, 0.25]
    for line in table.itertuples():
        assert line.notebook == f"lesson-{line.key}.ipynb"
        assert line.page == f"lesson-{line.key}.html"
        assert f"{line.sparsity} 2 picture" in text_of(out / line.notebook)
        assert "Title of lesson" in (out / line.page).read_text()
    assert sorted(done for _, done, _ in rows) == [1, 2, 3, 4]


def test_what_fails_is_a_row_with_its_reason_and_the_others_finish(several):
    out, _, told = several
    errors = results(out, errors=True).set_index("seeds")["error"]
    assert "cell 3 of 3 failed" in errors[0]
    assert "ZeroDivisionError: division by zero" in errors[0]
    assert "its process died: killed" in errors[1]
    assert "ZeroDivisionError" in told
    records = {path.stem[-16:]: read_record(path) for path in out.glob("*.ipynb")}
    assert len(records) == 4
    failed = {record["parameters"]["seeds"]: record["problems"] for record in records.values() if record["problems"]}
    assert failed[0][0].startswith("cell 3 of 3 failed")
    assert failed[1][0].startswith("its process died: killed")
    text = (out / "index.html").read_text()
    assert "4 runs, 2 failed" in text
    for row_key in records:
        assert f'href="lesson-{row_key}.ipynb"' in text


def test_a_kernel_ends_with_the_process_that_executes_it(several):
    out, _, _ = several
    assert gone((out.parent / "pid").read_text())


def test_finished_points_are_not_executed_again(tmp_path, instant):
    path, out = make(tmp_path / "a.ipynb"), tmp_path / "out"
    first = swept(path, out, {"sparsity": [0.5], "seeds": [3]})
    before = (out / first["notebook"][0]).stat().st_mtime_ns
    again = swept(path, out, {"sparsity": [0.5, 0.6]})  # seeds=3 is the default
    assert again["notebook"][0] == first["notebook"][0]
    assert (out / first["notebook"][0]).stat().st_mtime_ns == before
    assert len(list(out.glob("*.ipynb"))) == 2
    assert "2 runs, 0 failed" in (out / "index.html").read_text()
    assert key(NotebookRun(path), {"sparsity": 0.5}) == first["key"][0]


def test_rows_in_one_file_have_their_notebooks_in_the_folder_of_its_name(tmp_path, instant):
    table = swept(make(tmp_path / "a.ipynb"), tmp_path / "rows.jsonl", {"seeds": [1, 2]})
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    files = {*table["page"], *table["notebook"], "index.html"}
    assert {path.name for path in (tmp_path / "rows").iterdir()} == files


def test_a_failed_point_is_tried_again_and_leaves_nothing_of_the_failure(tmp_path, instant, monkeypatch):
    path, out, good = make(tmp_path / "a.ipynb"), tmp_path / "out", worker._execute
    monkeypatch.setattr(worker, "_execute", lambda job, *_: (nbformat.v4.reads(job.text), ["cell 2 of 2 failed"]))
    with pytest.raises(RuntimeError, match="cell 2 of 2 failed"):
        swept(path, out, {"seeds": [5]})
    assert "1 run, 1 failed" in (out / "index.html").read_text()
    monkeypatch.setattr(worker, "_execute", good)
    assert len(swept(path, out, {"seeds": [5]})) == 1
    assert "1 run, 0 failed" in (out / "index.html").read_text()


def test_rows_of_an_earlier_code_are_kept_and_told(tmp_path, instant):
    path, out = make(tmp_path / "a.ipynb", "print(1)"), tmp_path / "out"
    swept(path, out, {"seeds": [1, 2]})
    make(path, new_markdown_cell("Other words."), "print(1)")
    assert swept(path, out, {"seeds": [1, 2, 3]})["code"].nunique() == 1  # words are no code
    make(path, "print(2)")
    with pytest.warns(UserWarning, match=r"3 of 4 rows are of an earlier code of a.ipynb"):
        assert swept(path, out, {"seeds": [1, 2, 3, 4]})["code"].nunique() == 2


def test_what_a_notebook_recorded_is_in_its_row(tmp_path, instant):
    claims = [{"id": "snip-beats-random", "verdict": "holds"}, {"id": "own", "verdict": None}, {"id": 3}]
    instant += [
        {NUMBERS_MIME: {"accuracy": 0.5}},
        {NUMBERS_MIME: {"accuracy": 0.75}},  # the last one counts
        {NUMBERS_MIME: {"seeds": 7}},
        {NUMBERS_MIME: {"seconds": 1.5}},
        {NUMBERS_MIME: {"nested": [1]}},
        {NUMBERS_MIME: {"state": {"a": 1}, "tables": [], "words": ""}},  # an explorer's
        {NUMBERS_MIME: {"infinite": float("inf")}},
        {NUMBERS_MIME: {"text": "words"}},
        {CLAIM_MIME: claims},
        {"text/plain": "nothing"},
    ]
    out = tmp_path / "out"
    swept(make(tmp_path / "a.ipynb"), out, {"seeds": [5]})
    [row] = [json.loads(path.read_text()) for path in out.glob("runs/*/*.json")]
    files = {"page": f"a-{row['key']}.html", "notebook": f"a-{row['key']}.ipynb"}
    files["code"] = NotebookRun(tmp_path / "a.ipynb").code
    shown = {"accuracy": 0.75, "seeds (shown)": 7, "seconds (shown)": 1.5, "infinite": None, "text": "words"}
    assert row["metrics"] == {**files, **shown, "snip-beats-random": "holds", "own": None}


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"sparsity": [0.5, "much"]}, "a.ipynb: parameter sparsity is float; got 'much'"),
        (
            {"profile": ["smoke", "quick"]},
            "parameter profile is one of 'smoke', 'lecture', 'full'; got 'quick'",
        ),
        ({"seeds": [1, 1.5]}, "a.ipynb: parameter seeds is int; got 1.5"),
        ({"sparsty": [0.5]}, "Did you mean 'sparsity'"),
        ({"seeds": []}, "at least one value"),
        ({"sparsity": 0.5}, "list of values"),
    ],
)
def test_nothing_starts_where_a_value_is_wrong(tmp_path, instant, grid, told):
    path = make(tmp_path / "a.ipynb")
    with pytest.raises((ValueError, TypeError), match=told):
        swept(path, tmp_path / "out", {"seeds": [0]}, grid)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"), [({"jobs": -1}, "jobs is"), ({"most": 1}, "more than most=1"), ({"retries": 1}, "axis")]
)
def test_a_refused_sweep_leaves_the_folder_as_it_is(tmp_path, instant, options, told):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises((ValueError, TypeError), match=told):
        sweep_notebook(make(tmp_path / "a.ipynb"), tmp_path, {"seeds": [0, 1]}, **quiet | options)
    assert (tmp_path / "index.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["page", "notebook", "code", "seconds", "key"])
def test_a_parameter_with_the_name_of_a_column_is_refused(tmp_path, instant, name):
    path = make(tmp_path / "a.ipynb", parameters=f"{name}: int = 1")
    with pytest.raises(ValueError, match=f"{name} is "):
        swept(path, tmp_path / "out", {name: [1, 2]})


def test_a_notebook_that_cannot_be_swept(tmp_path):
    with pytest.raises(ValueError, match="nothing to vary"):
        NotebookRun(make(tmp_path / "a.ipynb", parameters=None))
    with pytest.raises(ValueError, match="is not there"):
        NotebookRun(tmp_path / "none.ipynb")
    with pytest.raises(ValueError, match="face"):
        NotebookRun(make(tmp_path / "b.ipynb"), face="pictures")
    with pytest.raises(ValueError, match="Use sweep_notebook"):
        NotebookRun(tmp_path / "b.ipynb")(seeds=1)


NAMES = ["..", ".", " ", "-rf", "a b#?%41", "q\"'><img src=x>", "ü", "a\\b", "a\nb", "\udcff", "%2e%2e%2fx", "index"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_and_no_value_leads_out_of_the_folder(tmp_path, instant, monkeypatch, name):
    """Nor does a path with `..` in it, an absolute one, or a link."""
    make(tmp_path / "in" / "text.ipynb", parameters='way: str = "plain"').rename(tmp_path / "in" / f"{name}.ipynb")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in")
    outside = {path for path in tmp_path.rglob("*") if "in" in path.parts}
    for number, path in enumerate([f"in/../in/{name}.ipynb", tmp_path / "in" / "link" / f"{name}.ipynb"]):
        values = ["../../up", "/tmp/absolute", "..", "\0", "a\n1 / 0", "'\"\\<img src=x>"]
        out = tmp_path / f"out-{number}"
        monkeypatch.chdir(tmp_path)
        table = swept(path, out, {"way": values})
        assert table["way"].tolist() == values
        for file in [*table["page"], *table["notebook"]]:
            assert (out / file).resolve().parent == out.resolve()
            assert (out / file).is_file()
        made = {file for file in out.rglob("*") if file.is_file()}
        assert len(made) == 3 * len(values) + 3  # row, notebook, page each; the grid, the locks, the index
        assert "<img" not in (out / "index.html").read_text()
    assert {path for path in tmp_path.rglob("*") if "in" in path.parts} == outside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out-0", "out-1"]


def test_a_run_travels_with_the_text_that_was_read(tmp_path, instant):
    path = make(tmp_path / "a.ipynb", code("print(1)", outputs=["old"]))
    told = NotebookRun(path, tmp_path / "out")
    path.write_text("{")  # changed while the sweep runs
    there = cloudpickle.loads(cloudpickle.dumps(told))
    assert there.job({"seeds": 4}) == told.job({"seeds": 4})
    assert "print(1)" in there.job({}).text
    assert "old" not in there.job({}).text
    assert there.job({"seeds": 4, "sparsity": 0.9}).given == {"seeds": 4}


def test_what_an_execution_sets_is_put_back(tmp_path, instant, monkeypatch):
    monkeypatch.delenv("WORKBENCH_FACE", raising=False)
    before = os.getcwd(), dict(os.environ)
    swept(make(tmp_path / "in" / "a.ipynb"), tmp_path / "out", {"seeds": [1]})
    assert (os.getcwd(), dict(os.environ)) == before


def test_the_command_takes_a_notebook(tmp_path, instant, capsys):
    make(tmp_path / "in" / "a.ipynb")
    spec = tmp_path / "specs" / "s.yaml"
    spec.parent.mkdir()
    spec.write_text("run: ../in/a.ipynb\ngrid: {sparsity: [0.5, 1e-3], profile: smoke}\njobs: 0\n")
    assert main(["sweep", str(spec), "-o", str(tmp_path / "out")]) == 0
    assert "2 runs in" in capsys.readouterr().out
    assert results(tmp_path / "out")["sparsity"].tolist() == [0.5, 0.001]
    assert "2 runs, 0 failed" in (tmp_path / "out" / "index.html").read_text()
    for text, told in (
        ("run: none.ipynb\ngrid: {seeds: [1]}", "none.ipynb is not there"),
        ("run: ../in/a.ipynb\ngrid: {seeds: [many]}", "parameter seeds is int; got 'many'"),
        ("run: ../in/a.ipynb\ngrid: {seed: [1]}", "Did you mean 'seeds'"),
    ):
        spec.write_text(text)
        assert main(["sweep", str(spec), "-o", str(tmp_path / "other")]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
