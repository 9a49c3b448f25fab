"""Every notebook of the project: its skeleton, a headless run, its page without a network.

That the cells run in the live face is also tested by nbval, which collects notebooks/ itself (see conftest.py).
"""

import base64
import itertools
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from notebook_maker import code, make

from workbench.claims import NUMBERS_MIME
from workbench.headless import numbers, read_notebook, read_parameters, runner, site

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
OPENING = (
    "**Survey section:**",
    "**What you will learn**",
    "**Prerequisites:**",
    "**Minutes to read:**",
    "**Seconds to run",
)
SECTIONS = ("Predict", "Counterexample", "Exercise", "Claims", "Summary", "References")
KEEP = {"keep_output", "nbval-check-output"}


def faults(path):
    """What a notebook lacks of the skeleton that all of them share; an empty list where nothing."""
    notebook = read_notebook(path)
    cells = notebook.cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    source = "\n".join(cell.source for cell in cells)
    found = [f"the first cell lacks {part}" for part in OPENING if part not in cells[0].source]
    headings = re.findall(r"^(#+) (.*)", prose, flags=re.MULTILINE)
    levels = [len(marks) for marks, _ in headings]
    if levels.count(1) != 1 or levels[0] != 1:
        found.append("one heading of level 1, the title, comes first")
    if any(below - above > 1 for above, below in itertools.pairwise(levels)):
        found.append("a heading skips a level")
    words = [words for marks, words in headings if len(marks) > 1]
    found += [f"no section {part}" for part in SECTIONS if not any(w.startswith(part) for w in words)]
    profile = read_parameters(notebook, path.name).get("profile")
    if profile is None or (profile.choices, profile.default) != (("smoke", "lecture", "full"), "lecture"):
        found.append("no parameter profile: Literal['smoke', 'lecture', 'full'] = 'lecture'")
    found += [f"parameter {p.name} has no comment" for p in read_parameters(notebook, path.name).values() if not p.help]
    codes = [cell for cell in cells if cell.cell_type == "code"]
    if len(codes) > 1 and len([line for line in codes[1].source.splitlines() if line.strip()]) > 5:
        found.append("the set-up has more than 5 lines")
    if not codes or "wb.versions()" not in codes[-1].source:
        found.append("the last code cell does not show wb.versions()")
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", prose):
        found += [f"picture {target} has no alt text"] if not alt.strip() else []
        found += [f"picture {target} comes from the network"] if "//" in target else []
    found += ["an <img> has no alt text"] if re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", text) else []
    found += [
        f"absolute path {part}" for part in re.findall(r"(?:/home|/Users|/root|/tmp|/work|[A-Z]:\\)[/\\]\S*", source)
    ]
    ids = [cell.get("id") for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    if len(set(ids)) < len(ids) or None in ids:
        found.append("cells without an id of their own")
    kept = [cell for cell in codes if cell.outputs and not KEEP & set(cell.metadata.get("tags", []))]
    found += [f"cell {cell.id} is committed with outputs" for cell in kept]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_skeleton(path):
    assert faults(path) == []


SOUND = [
    *[new_markdown_cell(f"## {section}") for section in SECTIONS],
    new_markdown_cell("![a bar](bar.png) and `![](code.png)`"),
    code("print(1)", "keep_output", outputs=["1"]),
    "wb.versions()",
]
TITLE = "# Title\n\n" + "\n\n".join(OPENING)
PROFILE = 'profile: Literal["smoke", "lecture", "full"] = "lecture"  # how much'


def lesson(path, *cells, title=TITLE, parameters=PROFILE):
    """A notebook with the whole skeleton, and what is planted in it."""
    make(path, "import workbench as wb", *cells, *SOUND, parameters=parameters)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = title
    nbformat.write(notebook, path)
    return path


def test_the_skeleton_itself_has_no_fault(tmp_path):
    assert faults(lesson(tmp_path / "a.ipynb")) == []


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (new_markdown_cell("![](x.png)"), "picture x.png has no alt text"),
        (
            new_markdown_cell("![a](https://example.org/x.png)"),
            "picture https://example.org/x.png comes from the network",
        ),
        (new_markdown_cell('<img src="x.png">'), "an <img> has no alt text"),
        (new_markdown_cell("# Another title"), "one heading of level 1, the title, comes first"),
        (new_markdown_cell("## A\n\n#### B"), "a heading skips a level"),
        ("open('/home/me/x')", "absolute path /home/me/x')"),
        (new_code_cell("1", id="one", outputs=[new_output("stream", text="1")]), "cell one is committed with outputs"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, cell, fault):
    assert faults(lesson(tmp_path / "a.ipynb", cell)) == [fault]


def test_planted_faults_of_the_frame_are_found(tmp_path):
    assert faults(lesson(tmp_path / "a.ipynb", title=TITLE.replace(OPENING[0], ""))) == [
        f"the first cell lacks {OPENING[0]}"
    ]
    assert "no parameter profile" in faults(lesson(tmp_path / "a.ipynb", parameters='profile: str = "lecture"  # x'))[0]
    assert faults(lesson(tmp_path / "a.ipynb", parameters=PROFILE.split("#")[0])) == [
        "parameter profile has no comment"
    ]
    assert faults(make(tmp_path / "b.ipynb", "\n".join("abcdef"), *SOUND[1:], parameters=PROFILE))[-2:] == [
        "no section Predict",
        "the set-up has more than 5 lines",
    ]
    path = lesson(tmp_path / "a.ipynb")
    ids = [cell.id for cell in read_notebook(path).cells]
    path.write_text(path.read_text().replace(ids[3], ids[2]))
    assert faults(path) == ["cells without an id of their own"]


SOON = """\
from workbench.explorers.explore import still
from workbench.explorers.playground import ahead

still.SECONDS, ahead.SECONDS = 4.0, 1.0
"""
WHOLE = FOLDER / "01-background.ipynb"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every notebook executed once without a front end, in `smoke`, as the face that has picture and page: name -> Run.

    The live face is nbval's; that explorers carry the same numbers in all faces is tested where they are. Pictures made
    ahead take most of the time: one page gets all of them, the kernels of the others begin with `SOON`.
    """
    out, start = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("ipython")
    options = {"profile": "smoke", "jobs": 2, "report": lambda _: None}
    (start / "profile_default" / "startup").mkdir(parents=True)
    (start / "profile_default" / "startup" / "soon.py").write_text(SOON, encoding="utf-8")
    made = {WHOLE.stem: runner.run([WHOLE], out / "notebooks", pages=out, face="site", **options)[0]}
    others = [path for path in NOTEBOOKS if path != WHOLE]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(start))
        patch.setattr(runner, "THREADS", (*runner.THREADS, "IPYTHONDIR"))  # what of the environment kernels are given
        return made | dict(zip([path.stem for path in others], site(others, out, **options), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_without_an_error_in_a_cell_or_a_widget(runs, name):
    assert runs[name].problems == []
    assert runs[name].page_problems == []


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_asks_for_its_face(name):
    """So that what nbval runs live is what runs here."""
    assert not re.search(r"WORKBENCH_FACE|explorers\.face|get_ipython", (FOLDER / f"{name}.ipynb").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_its_explorers_have_numbers_a_picture_and_words(runs, name):
    notebook = read_notebook(runs[name].executed)
    assert numbers(notebook)
    outputs = [o.data for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "data" in o]
    explorers = [data for data in outputs if "state" in data.get(NUMBERS_MIME, {})]
    assert explorers
    for data in explorers:
        picture = data.get("image/png")
        assert base64.b64decode(picture).startswith(b"\x89PNG") if picture else data[NUMBERS_MIME]["tables"]
        assert len(data["text/plain"].split()) > 10
        assert "wb-" in data["text/html"]


@pytest.mark.parametrize("name", NAMES)
def test_its_page_works_from_disk_without_a_network(runs, name, browser):
    page_file = runs[name].page
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_file.as_uri())
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]
    assert errors == []
    assert page.locator("math").count() > 0
    links = page.evaluate("[...document.links].map(link => link.href).filter(link => link.startsWith('file:'))")
    assert [link for link in links if not Path(link.split("#")[0].removeprefix("file://")).exists()] == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    explorer = page.locator(".wb-root:has(input[type=range])").first
    before = explorer.get_attribute("data-stop")
    slider = explorer.locator("input[type=range]").first
    slider.press("ArrowLeft" if slider.evaluate("e => e.value === e.max") else "ArrowRight")
    page.wait_for_function("([e, was]) => e.dataset.stop !== was", arg=[explorer.element_handle(), before])
    context.close()
