"""Static pages: formulas, pictures and scripts stand in the page, and a browser loads nothing else."""

import base64
import html
import json
from xml.etree import ElementTree

import pytest
from nbformat import from_dict
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_maker import make, record

from workbench.claims import CLAIM_MIME
from workbench.headless import run_with_index, site, write_claims
from workbench.headless.markdown import markdown_html, mathml
from workbench.headless.render import notebook_page
from workbench.templates import html as filled

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

TEXT = r"""
## A section with $x^2$

Inline $s_i = \left| w_i \frac{\partial L}{\partial w_i} \right|$ and a price of \$5 or \$7, and `code with $dollars$`.

$$\begin{aligned} a &= b \\ c &= d \end{aligned}$$

![A red point](point.png)

See [the next lesson](second.ipynb#A-section) and [a paper](https://example.org/paper).

<details><summary>Solution</summary>

Folded, with **a picture**: <img src="point.png" alt="the point again">

</details>

### [Deeper](https://example.org/deeper): a & b

Words.
"""

EXPLORER = """
from IPython.display import HTML
HTML('''<div id="explorer" style="width: 840px">
<input id="slider" type="range" aria-label="stop" value="1" max="9"> <output id="value"></output></div>
<script type="module">
const slider = document.getElementById("slider");
const show = () => { document.getElementById("value").textContent = "stop " + slider.value; };
slider.addEventListener("input", show);
show();
</script>''')"""

FIGURE = """
from IPython.display import display

data = "%s"
html = f'<figure><img alt="three bars" src="data:image/png;base64,{data}"><figcaption>Bars.</figcaption></figure>'
display({"text/html": html, "image/png": data, "text/plain": "three bars"}, raw=True)""".replace(
    "%s", base64.b64encode(PIXEL).decode()
)

WIDE = """
import pandas as pd
pd.DataFrame([range(60)], columns=[f"column {i}" for i in range(60)])"""

REMOTE = """
from IPython.display import HTML
HTML('<img src="https://example.org/tracker.png" alt=""><script src="https://example.org/x.js"></script>')"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A site of two notebooks."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "point.png").write_bytes(PIXEL)
    make(
        source / "first.ipynb",
        new_markdown_cell(TEXT),
        EXPLORER,
        FIGURE,
        WIDE,
        "print('word ' * 400)  " + "# a long line " * 40,
        "import os; print('face', os.environ['WORKBENCH_FACE'])",
    )
    make(source / "second.ipynb", new_markdown_cell("## A section"), REMOTE)
    said = []
    assert all(not r.problems for r in site([source], out, profile="smoke", jobs=2, report=said.append)), said
    return out


@pytest.fixture
def open_page(folder, browser):
    """Open a page of the site from disk in a browser without a network; gives the page and what it asked for."""
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 800})
    asked, errors = [], []

    def visit(name, scheme="light"):
        page = context.new_page()
        page.emulate_media(color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((folder / name).as_uri())
        return page

    yield visit, asked, errors
    context.close()


def test_a_page_begins_with_a_contents_list(open_page):
    visit, _, _ = open_page
    page = visit("first.html")
    link = page.get_by_role("navigation", name="Contents").get_by_role("link")
    assert not link.first.is_visible()
    page.get_by_text("Contents", exact=True).click()
    assert [text.split()[0] for text in link.all_inner_texts()] == ["A", "Deeper:"]
    link.last.click()
    place = page.locator("h3").bounding_box()["y"]
    assert 0 <= place < 800
    assert page.locator("nav math").count() == 1  # the formula, set as in the text


def test_a_page_works_from_disk_with_nothing_loaded(open_page, folder):
    visit, asked, errors = open_page
    page = visit("first.html")
    assert [url for url in asked if not url.startswith("data:")] == [(folder / "first.html").as_uri()]
    assert errors == []
    page.locator("#slider").press("ArrowRight")
    assert page.locator("#value").text_content() == "stop 2"
    assert page.locator("figure img").get_attribute("alt") == "three bars"
    solution = page.locator("main details strong")
    assert not solution.is_visible()
    page.get_by_text("Solution").click()
    assert solution.is_visible()
    assert page.locator("main details img").evaluate("image => image.src").startswith("data:image/png;base64,")
    assert page.locator("figcaption").text_content() == "Bars."
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert "face site" in page.locator("main").text_content()


def test_the_list_of_pages_leads_to_the_reference(open_page, folder):
    visit, asked, errors = open_page
    page = visit("index.html")
    page.get_by_role("link", name="Reference").click()
    page.locator("#keep_top").wait_for()
    assert page.url == (folder / "reference" / "workbench.html").as_uri()
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert errors == []


def test_formulas_are_set_by_the_browser(open_page):
    visit, _, _ = open_page
    page = visit("first.html")
    assert page.locator("main math").count() == 3
    assert page.locator("mfrac").first.bounding_box()["height"] > 20
    assert page.locator("mtr").count() == 2
    text = page.locator(".text").nth(1).inner_text()
    assert "a price of $5 or $7" in text
    assert "code with $dollars$" in text
    assert "\\frac" not in text


@pytest.mark.parametrize("width", [1000, 400])
def test_nothing_is_wider_than_the_page(open_page, width):
    visit, _, _ = open_page
    page = visit("first.html")
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)")
    assert page.evaluate("[...document.querySelectorAll('.code')].every(e => e.scrollWidth <= e.clientWidth)")
    if width == 1000:
        box = page.locator(".scroll").first
        assert box.evaluate("e => e.clientWidth") == 840
        assert box.evaluate("e => e.scrollWidth") == 840


def test_light_and_dark(open_page):
    visit, _, _ = open_page
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (visit("first.html", scheme).evaluate(ground) for scheme in ("light", "dark"))
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(20, 23, 27)"


def test_what_an_output_asks_of_the_network_is_refused(open_page, folder):
    visit, _, _ = open_page
    page = visit("first.html")
    failed = {}
    page.on("requestfailed", lambda request: failed.update({request.url: request.failure}))
    page.goto((folder / "second.html").as_uri())
    assert failed == {"https://example.org/tracker.png": "csp", "https://example.org/x.js": "csp"}


def test_the_index_leads_to_every_page(open_page):
    visit, _, _ = open_page
    page = visit("index.html")
    assert page.locator(".contents a").all_text_contents() == ["Title of first", "Title of second"]
    assert page.locator(".contents p").first.text_content() == "First paragraph."
    page.get_by_role("link", name="Title of first").click()
    assert page.locator("h1").text_content() == "Title of first"
    page.get_by_role("link", name="the next lesson").click()
    assert page.locator("h1").text_content() == "Title of second"
    page.get_by_role("link", name="All notebooks").click()
    assert page.locator("h1").text_content() == "Notebooks"


@pytest.mark.parametrize("name", ["index.html", "first.html"])
def test_markup_that_a_reader_of_the_screen_needs(open_page, name):
    visit, _, _ = open_page
    page = visit(name)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    assert page.locator("img:not([alt])").count() == 0


def test_foreign_names_and_rows_do_nothing_but_stand_there(tmp_path, browser):
    """A list of runs and a table of claims whose names and values are somebody else's."""
    attack = "<img src=x onerror=\"document.title='hit'\">"
    claim = {
        "id": attack,
        "statement": attack,
        "n": attack,
        "effect": attack,
        "low": attack,
        "high": 1,
        "verdict": attack,
    }
    shown = new_output("display_data", {CLAIM_MIME: [claim], "text/plain": "shown"})
    names = [
        "javascript:document.title='hit';x",
        "a#b?c%41 d",
        "q\"'>u",
        "ü &amp; <b>",
        "//host",
        "http:x",
        ".",
        "\udcff",
    ]
    for name in [name.replace("/", "_") for name in names]:
        facts = record(title=attack, parameters={attack: attack}, given={attack: attack, "x": 1})
        facts |= {"problems": [attack], "page": [attack], "picture": f'data:x">{attack}', "alt": f'">{attack}'}
        facts["parameters"]["x"] = [attack, len(name)]
        notebook = new_notebook(cells=[new_code_cell("", outputs=[shown])], metadata={"workbench": facts})
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook))
        (tmp_path / f"{name}.html").write_text(filled("page", title=len(name)))
    run_with_index([make(tmp_path / "in" / "torn.ipynb", parameters="x")], tmp_path, report=print)
    write_claims(tmp_path)
    view = browser.new_context(offline=True).new_page()
    for name, pictures in (("claims.html", 0), ("index.html", len(names))):
        view.goto((tmp_path / name).as_uri())
        assert view.locator("img").count() == pictures
        assert view.title() == name.split(".")[0].replace("index", "runs").capitalize()
    for button in view.get_by_role("button").all():
        button.click()
    view.get_by_label("Filter").fill(attack)
    links = view.locator("tbody th > a:first-child")
    assert links.all_inner_texts() == [attack] * len(names)
    assert set(view.locator("img").evaluate_all("them => them.map((e) => e.alt)")) == {f'">{attack}'}
    lengths = []
    for number in range(len(names)):
        links.nth(number).click()
        lengths.append(int(view.locator("h1").text_content()))
        view.go_back()
    assert sorted(lengths) == sorted(map(len, names))
    view.context.close()


def test_links_stay_as_written_where_they_lead_elsewhere(tmp_path):
    text = markdown_html("[a](https://example.org/x.ipynb) [b](../x.ipynb) [c](x.ipynb?q#h)", tmp_path)
    assert 'href="https://example.org/x.ipynb"' in text
    assert 'href="../x.ipynb"' in text
    assert 'href="x.html?q#h"' in text


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("`$a$`", 0),
        ("``$$a$$``", 0),
        ("```\n$$a$$ and $b$\n```", 0),
        (r"\$5 and \$6", 0),
        ("costs 5$", 0),
        ("$a$ and $b$", 2),
        ("text $$a$$ text", 1),
        ("$$\na\n\n+ b\n$$", 1),
        ("\\begin{align}a &= 1\\end{align}", 1),
        ("| a | b |\n|---|---|\n| $x$ | `$y$` |", 1),
        ("a_b $x_i$ c_d $y_i$", 2),
    ],
)
def test_only_formulas_are_formulas(tmp_path, source, count):
    text = markdown_html(source, tmp_path)
    assert text.count("<math ") == count
    if count:
        assert "$" not in text.replace("`$y$`", "").replace("<code>$y$</code>", "")


@pytest.mark.parametrize(
    "latex", [r"\unknown{x}", "x_{", "a & b", r"\frac{1}{2", r"\ref{eq:1}", r"\left( x", r"\begin{x}"]
)
def test_a_formula_that_cannot_be_set_is_an_error_and_in_a_page_its_source(tmp_path, latex):
    with pytest.raises(ValueError, match="a formula that cannot be shown") as caught:
        mathml(latex)
    assert latex in str(caught.value)
    problems = []
    page = markdown_html(f"Here ${latex}$ and $x$.", tmp_path, problems=problems)
    assert f"<p>Here <code>{html.escape(latex)}</code> and <math" in page
    assert problems == [str(caught.value)]


@pytest.mark.parametrize(
    ("latex", "words"),
    [
        (r"\underset{m}{\arg\min}\,L \label{eq:1}", ["arg", "min", "m", "L"]),
        (r"\begin{align} a &= b \nonumber \\ c &= d \tag{7} \notag \end{align}", ["a", "=", "b", "c", "=", "d", "(7)"]),
        (r"\operatorname*{arg\,min}_x \argmax \argument", None),
        (r"\begin{eqnarray}a&=&b\end{eqnarray}", ["a", "=", "b"]),
        (r"\operatorname*{top}_k \diag(x) \sgn x, \hdots", ["top", "k", "diag", "x", "sgn", "x"]),
    ],
)
def test_spellings_that_the_library_does_not_know(latex, words):
    if words is None:  # a command that only begins like a known one
        with pytest.raises(ValueError, match=r"unknown command \\argument"):
            mathml(latex)
        return
    found = ElementTree.fromstring(mathml(latex))
    said = [(e.text or "").strip() for e in found.iter() if (e.text or "").strip() not in ("", "(", ")", ",", "…")]
    assert said == words
    assert found.get("alttext") == latex


def test_what_a_page_cannot_show_costs_no_more_than_itself(tmp_path):
    (tmp_path / "folder.png").mkdir()
    odd = [
        {"image/png": [1], "text/plain": "odd < bundle"},
        {"text/html": {"a": 1}, "text/plain": "no HTML"},
        {"text/latex": None},
    ]
    outputs = [
        *[from_dict({"output_type": "display_data", "data": data, "metadata": {}}) for data in odd],
        new_output("display_data", {"text/html": ["<i>two", " lines</i>"]}),
        new_output("stream", name='"><b>', text="long " * 300_000),
        new_output("display_data", {"text/html": "<p>fine</p>"}),
    ]
    pictures = "![p](folder.png) ![q](gone.png) ![r](attachment:none.png) <img src='x'> <img src=\"far//y.png\">"
    cells = [new_markdown_cell(pictures), new_code_cell("x = 1")]
    notebook = new_notebook(cells=cells)
    notebook.cells[1].outputs = outputs
    text, problems = notebook_page(notebook, tmp_path, "x.ipynb")
    assert [problem.split(":")[0] for problem in problems] == ["cell 1"] * 4 + ["cell 2"] * 4
    for part in (
        "folder.png",
        "gone.png",
        "none.png",
        "far//y.png",
        "got [1]",
        "got {'a': 1}",
        "got None",
        "1,500,000",
    ):
        assert part in "\n".join(problems), part
    for part in (
        "odd &lt; bundle",
        "no HTML",
        "<p>fine</p>",
        "<i>two lines</i>",
        'class="&#34;&gt;&lt;b&gt;"',
        'alt="q"',
    ):
        assert part in text, part
    assert text.count("This page is incomplete.") == 8
    assert len(text) < 1_100_000


def test_every_kind_of_output_has_a_form(tmp_path):
    outputs = [
        new_output("stream", name="stdout", text="plain < text \x1b[31mred\x1b[0m"),
        new_output("stream", name="stderr", text="a warning"),
        new_output("error", ename="E", evalue="v", traceback=["Trace", "E: v"]),
        new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"}),
        new_output("display_data", {"image/png": "BBBB"}, metadata={"alt": "said"}),
        new_output("display_data", {"image/svg+xml": "<svg></svg>", "text/plain": "svg"}),
        new_output("display_data", {"text/markdown": "**bold** $x$"}),
        new_output("display_data", {"text/latex": "$y$"}),
        new_output("display_data", {"text/plain": "a < b", "application/json": {}}),
    ]
    text, problems = notebook_page(new_notebook(cells=[new_code_cell("x = 1", outputs=outputs)]), tmp_path, "x.ipynb")
    assert problems == []
    for part in (
        '<pre class="stdout" tabindex="0">plain &lt; text <span',
        '<pre class="stderr"',
        '<pre class="error" tabindex="0">Trace\nE: v',
        '<img src="data:image/png;base64,AAAA" alt="&lt;Figure&gt;">',
        'alt="said"',
        "<svg></svg>",
        "<strong>bold</strong> <math",
        "<mi>y</mi>",
        '<pre tabindex="0">a &lt; b</pre>',
    ):
        assert part in text, part
