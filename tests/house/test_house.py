"""What is declared, pinned, documented and shipped says the same everywhere, and the wheel runs on its own."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbench.project_data import project_data

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock = load_tool("lock")
GROUPS = lock.declared()
CORE, LAB, CLUSTER, MLFLOW, DEV = ({requirement.name for requirement in GROUPS[group]} for group in GROUPS)
DECLARED = {requirement.name: requirement for group in GROUPS.values() for requirement in group}


def pins():
    """Name -> requirement of every line of the lock."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return {r.name: r for r in map(Requirement, (line for line in lines if line and not line.startswith("#")))}


def pinned(pin):
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


# -- pyproject.toml, requirements.lock, environment.yml ----------------------------------------------------------


def test_every_declared_package_is_pinned_within_its_range():
    for name, requirement in DECLARED.items():
        assert requirement.specifier.contains(pinned(pins()[name])), name


def test_a_package_is_declared_once():
    assert sum(map(len, GROUPS.values())) == len(DECLARED)


def test_every_range_has_both_ends():
    for requirement in DECLARED.values():
        assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}, requirement


@pytest.mark.parametrize("system", lock.SYSTEMS)
@pytest.mark.parametrize("python", lock.PYTHONS)
def test_the_lock_is_closed_and_holds_no_leftovers(system, python):
    """What the packages installed here say they require, on any system; a package of other systems requires nothing."""
    place = lock.environment(system, python)
    locked = {name: pinned(pin) for name, pin in pins().items() if not pin.marker or pin.marker.evaluate(place)}

    def facts(name, system, python):
        try:
            return lock.installed(name)
        except lock.PackageNotFoundError:
            return locked.get(name, "not in the lock"), ()

    needed = lock.closure(list(DECLARED.values()), system, python, facts)
    assert needed.items() <= locked.items()
    elsewhere = {name for name in locked.keys() - needed.keys() if is_installed(name)}
    assert not elsewhere, "pinned, installed here, and needed by nothing"


def is_installed(name):
    try:
        return bool(lock.installed(name))
    except lock.PackageNotFoundError:
        return False


def test_a_leftover_and_a_gap_are_seen():
    roots = [Requirement("a>=1")]
    facts = {
        "a": ("1", (Requirement("b[x]"), Requirement("nvidia-cublas"))),
        "b": ("2", (Requirement('c; extra == "x"'),)),
    }
    facts["c"] = ("3", (Requirement('d; sys_platform == "win32"'),))
    facts["d"] = ("4", ())
    look = lambda name, system, python: facts[name]  # noqa: E731
    assert lock.closure(roots, "linux", "3.11", look) == {"a": "1", "b": "2", "c": "3"}
    assert lock.closure(roots, "win32", "3.11", look) == {"a": "1", "b": "2", "c": "3", "d": "4"}


def test_what_is_installed_is_what_is_pinned():
    place = lock.environment(sys.platform, f"{sys.version_info.major}.{sys.version_info.minor}")
    here = {name: pin for name, pin in pins().items() if not pin.marker or pin.marker.evaluate(place)}
    assert {name: lock.installed(name)[0] for name in here} == {name: pinned(pin) for name, pin in here.items()}


def test_the_lock_fetches_no_cuda_packages():
    assert not [name for name in pins() if lock.CUDA.match(name)]
    assert pinned(pins()["torch"]) == "2.13.0"


def test_markers_are_exact():
    for places, text in [
        (set(lock.PLACES), ""),
        ({("win32", python) for python in lock.PYTHONS}, 'sys_platform == "win32"'),
        ({place for place in lock.PLACES if place[0] != "win32"}, 'sys_platform != "win32"'),
        ({(system, "3.12") for system in lock.SYSTEMS}, 'python_version == "3.12"'),
        ({("darwin", "3.11")}, 'sys_platform == "darwin" and python_version == "3.11"'),
    ]:
        assert lock.marker(places) == text
    with pytest.raises(ValueError, match="no simple marker"):
        lock.marker({("darwin", "3.11"), ("linux", "3.12")})


def test_the_conda_environment_declares_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    (from_pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    told = {}
    for requirement in map(Requirement, lines + from_pip):
        told[{"pytorch": "torch"}.get(requirement.name, requirement.name)] = requirement.specifier
    assert told.pop("python") == Requirement("python" + PROJECT["requires-python"]).specifier
    assert told.pop("pip") == ""
    assert told == {name: requirement.specifier for name, requirement in DECLARED.items()}
    assert environment["name"] == PROJECT["name"]


# -- declared and imported ---------------------------------------------------------------------------------------


LAB_ROOMS = {"explorers", "headless", "reports", "sweeps"}


def distributions(modules):
    """The distributions that hold these modules, by their names in pyproject.toml."""
    known = packages_distributions()
    top = {module.split(".")[0] for module in modules}
    return {canonicalize_name(known[module][0]) for module in top - {"workbench"} if module in known}


def imported(folder):
    """(distributions that files in a folder import, those that they ask the extra `lab` for)."""
    modules, asked = set(), set()
    for path in [folder] if folder.is_file() else folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("lab", "check_lab"):
                asked |= {word.value for word in node.args if isinstance(word, ast.Constant)}
    return distributions(modules), distributions(asked)


def undeclared(package, core, lab):
    """One line for each room that imports what its group lacks, or what it has not asked the extra `lab` for."""
    found = []
    for room in sorted(package.iterdir()):
        used, asked = imported(room) if room.suffix in ("", ".py") else (set(), set())
        if strange := used - core - (lab & asked if room.name in LAB_ROOMS else set()):
            found.append(f"{room.name} imports {', '.join(sorted(strange))}")
        if strange := asked - lab:
            found.append(f"{room.name} asks the lab for {', '.join(sorted(strange))}")
    return found


def test_the_core_imports_the_core_only_and_the_lab_is_asked_for():
    assert undeclared(ROOT / "workbench", CORE, LAB | CLUSTER | MLFLOW) == []


@pytest.mark.parametrize(
    ("path", "lines", "complaint"),
    [
        ("masks.py", "import yaml\nimport pytest", ["masks.py imports pytest"]),
        ("masks.py", "check_lab('IPython')\nimport IPython", ["masks.py imports ipython"]),
        ("masks.py", "lab('IPython.display').display(1)", []),
        ("masks.py", "lab('yaml')", ["masks.py asks the lab for pyyaml"]),
        ("headless/page.py", "def late():\n    from IPython import display", ["headless imports ipython"]),
        ("headless/page.py", "check_lab('yaml', 'IPython')\nimport IPython", ["headless asks the lab for pyyaml"]),
    ],
)
def test_an_import_of_the_wrong_group_is_seen(tmp_path, path, lines, complaint):
    planted = tmp_path / path
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(lines)
    assert undeclared(tmp_path, {"pyyaml"}, {"ipython"}) == complaint


def test_what_is_declared_is_used():
    assert set().union(*imported(ROOT / "workbench")) == (CORE | LAB | CLUSTER | MLFLOW) - {
        "jupyterlab"
    }  # which runs as a program


def test_tests_and_tools_import_what_is_declared():
    for folder in ("tests", "tools", "benchmarks"):
        assert imported(ROOT / folder)[0] <= DECLARED.keys()


# -- README ------------------------------------------------------------------------------------------------------


def test_the_readme_says_why_each_dependency_is_there():
    section = README.split("## What it stands on")[1].split("\n## ")[0]
    tables = section.split("| package | why |")[1:]
    told = [re.findall(r"^\| ([a-z0-9-]+) \| .+ \|$", table, re.M) for table in tables]
    assert [sorted(names) for names in told] == [sorted(names) for names in (CORE, LAB, CLUSTER, MLFLOW, DEV)]


def test_the_readme_names_the_tasks_there_are():
    makefile = (ROOT / "Makefile").read_text()
    tasks = set(re.search(r"^TASKS = (.+)$", makefile, re.M)[1].split())
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s]*(?:\||`|#|ARGS))", README)) == tasks


def test_the_installation_pins_the_torch_of_the_lock():
    text = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert set(re.findall(r"torch==([0-9.]+)", text)) == {pinned(pins()["torch"])}


def test_the_tables_are_what_the_notebooks_and_the_checks_say():
    for path, text in load_tool("readme").documents().items():
        assert path.read_text(encoding="utf-8") == text, path.name


def test_the_readme_is_read_before_its_first_table():
    """Two screens of 1280 x 720 pixels, a picture among them, are about 50 lines."""
    before, _, _ = README.partition("\n|")
    assert len(before.splitlines()) <= 50


def test_the_first_ten_lines_run(capsys):
    (code,) = re.findall(r"```python\n(.+?)```", README, re.S)
    assert len([line for line in code.splitlines() if line]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    assert "20x" in capsys.readouterr().out


@pytest.mark.parametrize("document", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_linked_files_exist(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


# -- the wheel ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed_wheel(tmp_path_factory):
    """The wheel, built and installed into an empty folder; third-party packages come from this environment.

    Python starts with -S, so no .pth file is read and the editable checkout stays out of sight.
    """
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    third_party = Path(pytest.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{third_party}"}

    def run(*words):
        return subprocess.run(
            [sys.executable, "-S", "-P", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    run.site = site
    return run


def test_the_wheel_runs_without_the_checkout(installed_wheel):
    code = (
        "import workbench as wb; from workbench.project_data import project_data; task = wb.load('digits'); "
        "print(wb.__file__, project_data('README.md'), task.size('test') > 0, sep='\\n')"
    )
    done = installed_wheel("-c", code)
    assert done.returncode == 0, done.stderr
    package, data, loaded = done.stdout.splitlines()
    assert Path(package).is_relative_to(installed_wheel.site)
    assert Path(data).is_relative_to(installed_wheel.site)
    assert loaded == "True"


CORE_ALONE = """
import os, sys
sys.modules.update(dict.fromkeys({hidden}, None))
import workbench as wb
from workbench import cli

task = wb.load("digits", device="cpu")
model = wb.make("lenet-300-100", task, seed=0)
masks = wb.find_masks(model, task.batch(64, seed=0), "snip", sparsity=0.9, rounds=2)
wb.train(model, task, masks=masks, epochs=1, seed=0)
print(wb.evaluate(model, task, masks)["n"], len(wb.layers(model, masks)))
scores = wb.score(model, task.batch(64, seed=0), "magnitude")
print(*wb.plots.bundle(wb.plots.score_histogram(scores, masks), alt="a", caption="c"))

def twice(x):
    return {{"y": 2 * x}}

print(wb.sweep(twice, "rows.jsonl", x=[1, 2], jobs=2)["y"].tolist())
print(len(wb.experiments.recorded("critical")) > 0, wb.experiments.verdicts("synflow-conserves")[0].verdict)

def refused(function, *arguments, **options):
    try:
        print("not refused:", function(*arguments, **options))
    except ImportError as told:
        print(told)

refused(wb.plots.show, wb.plots.score_histogram(scores), alt="a", caption="c")
refused(wb.exercises.check, 1, 2)
refused(wb.claims.show_number, "name", 1)
refused(wb.load, "mnist", root="nowhere")
os.makedirs("copies/mnist")
for split in ("train", "test"):
    with open(f"copies/mnist/{{split}}-00000-of-00001.parquet", "wb"):
        pass
refused(wb.load, "mnist", root="copies")
refused(wb.explorers.playground)
for command in (["run"], ["site"], ["claims", "."]):
    print(cli.main(command))
"""


def test_the_core_works_without_the_lab_and_says_where_that_is_needed(installed_wheel):
    """Packages that only the extras bring are hidden, as if they were not installed."""
    place = sys.platform, f"{sys.version_info.major}.{sys.version_info.minor}"
    core = lock.closure(GROUPS["core"], *place)
    known = packages_distributions()
    hidden = [module for module, names in known.items() if not core.keys() & {*map(canonicalize_name, names)}]
    assert {"IPython", "nbformat", "datasets", "anywidget"} <= {*hidden}
    done = installed_wheel("-c", CORE_ALONE.format(hidden=[*hidden]))
    remedy = 'Install the extra lab: pip install "pruning-workbench[lab]"'
    missing = ["IPython"] * 3 + ["datasets", "pyarrow", "anywidget, traitlets, IPython"]
    assert done.stdout.splitlines() == [
        "300 3",
        "text/html image/png text/plain",
        "[2, 4]",
        "True holds",
        *(f"not installed: {names}. {remedy}" for names in missing),
        "1",
        "1",
        "1",
    ], done.stderr
    assert done.stderr.count(f"papermill, pdoc, pygments, traitlets. {remedy}") == 3


def test_the_wheels_command_runs(installed_wheel):
    (command,) = [path for path in (installed_wheel.site / "bin").iterdir() if path.stem == "workbench"]
    done = installed_wheel(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_the_wheel_holds_the_package_and_its_data_only(installed_wheel):
    entries = {path.name for path in installed_wheel.site.iterdir()} - {"bin"}
    assert entries == {"workbench", f"pruning_workbench-{PROJECT['version']}.dist-info"}
    there = {path.relative_to(ROOT / "data") for path in (ROOT / "data").rglob("*") if path.is_file()}
    inside = installed_wheel.site / "workbench" / "_shipped"
    assert {path.relative_to(inside) for path in inside.rglob("*") if path.is_file()} == there
    for name in ("kit.js", "playground.js", "playground.css"):
        assert (installed_wheel.site / "workbench" / "explorers" / "static" / name).exists()


# -- shipped data ------------------------------------------------------------------------------------------------


def test_shipped_finds_the_checkouts_data():
    assert project_data() == ROOT / "data"


def test_shipped_prefers_what_lies_inside_the_package(tmp_path):
    for place in ("workbench/_shipped", "data"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "claims.yaml").touch()
    assert (
        project_data("claims.yaml", package=tmp_path / "workbench")
        == tmp_path / "workbench" / "_shipped" / "claims.yaml"
    )


def test_missing_shipped_data_is_told_with_what_there_is():
    with pytest.raises(
        FileNotFoundError, match=r"rows/nothing\.jsonl is not among .* holds .*README\.md|holds .*jsonl"
    ):
        project_data("rows", "nothing.jsonl")
