"""The playground's three layouts hold with any font and with larger texts: nothing cut, overlapping or scrolling.

One Chromium for each family that Linux desktops come with, and no other font for it: fontconfig offers that family
alone, so that page and canvas both get it. Larger texts are the reader's font size setting (Chromium: Appearance, Font
size, Large: 20 px instead of 16).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import ARGS, CHROMIUM, unavailable
from matplotlib.ft2font import FT2Font
from test_frontend import LAST, STOPS, frame, recorded, settle, show, way

FAMILIES = {
    "DejaVu Sans": ("fonts-dejavu-core", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "Liberation Sans": ("fonts-liberation", "LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    "Noto Sans": ("fonts-noto-core", "NotoSans-Regular.ttf", "NotoSans-Bold.ttf"),
}
FONTS = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts"]
LAYOUTS = {"phone": (346, 740), "laptop": (876, 720), "projector": (1768, 1000)}
"""Windows: what a page leaves of a phone's 360 px, and JupyterLab's output at 1280 x 720 (files open), 1920 x 1080."""
LONG = "a-name-that-somebody-gave-to-something-of-their-own"

FINDINGS = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")


def wrong(page: Any) -> list[str]:
    """What is wrong with the layout, in words."""
    findings: list[str] = page.evaluate(FINDINGS, LONG)
    return findings


@pytest.fixture(params=FAMILIES)
def alone(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Iterator[tuple[Any, Any, str, list[Path]]]:
    """A page in a Chromium that has one family of fonts; its developer tools, the family, its files."""
    package, *files = FAMILIES[request.param]
    paths = [path for name in files for folder in FONTS for path in sorted(folder.rglob(name))[:1]]
    if len(paths) < len(files):
        unavailable(f"the font {request.param} is not installed (Debian: apt-get install {package})")
    (tmp_path / "fonts").mkdir()
    for path in paths:
        (tmp_path / "fonts" / path.name).symlink_to(path)
    config = tmp_path / "fonts.conf"
    config.write_text(f"<fontconfig><dir>{tmp_path}/fonts</dir><cachedir>{tmp_path}/cache</cachedir></fontconfig>")
    started = browser.browser_type.launch(
        executable_path=str(CHROMIUM), args=ARGS, env={**os.environ, "FONTCONFIG_FILE": str(config)}
    )
    page = started.new_page(viewport={"width": 900, "height": 700})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page, page.context.new_cdp_session(page), request.param, paths
    started.close()
    assert errors == []


def laid_out(page: Any) -> None:
    """Wait until sizes that changed are drawn: the browser tells them a display frame later."""
    settle(page)
    settle(page)


def put(page: Any, **traits: Any) -> None:
    """Change what the stand-in for the kernel says."""
    page.evaluate("traits => { for (const [name, value] of Object.entries(traits)) model.set(name, value); }", traits)
    settle(page)


def chosen(page: Any, **choices: Any) -> None:
    put(page, choices=page.evaluate("model.get('choices')") | choices)


def large(page: Any, compare: str | None) -> None:
    """25 million weights in 54 layers, scores of both signs, many criteria in the trade-off, a long file name."""
    show(page, LAST, compare=compare)
    made = frame(0, 32670.2, compare)
    for side in made["sides"]:
        side["layers"] = [
            {"name": f"layer{i}.conv.weight", "size": 2**i % 999_983 + 9, "kept": i % 7, "density": 10.0 ** -(i % 7)}
            for i in range(54)
        ]
        dead = "19 of 20 layers have no weight left: layer0.conv.weight, layer7.conv.weight and 17 more"
        side["alarm"] = dead
        side["sentence"] = "99.9969 % removed, 32,670x; 19 of 20 layers alive; effective 99.9970 %"
        side["numbers"] |= {"kept": 24_557_032, "total": 25_557_032, "size_ratio": 32670, "macs_dense": 4.11e9}
        side["numbers"] |= {"macs": 4.01e9, "critical": 32670, "max_compression": 473_279, "effective": 0.99997}
        side["scores"] |= {"zero": 1_234_567, "before": 24_557_032, "label": "score, signed log10(1 + |s| / 1e-05)"}
        side["mask"]["note"] = "one cell = mean of 12 x 128 weights"
    stops = [1.12**i for i in range(116)]
    names = [
        "fisher",
        "force",
        "grasp",
        "lamp",
        "lrp",
        "magnitude",
        "ntk-sap",
        "obd",
        "obs",
        "phew",
        "prospr",
        "random",
    ]
    curve = [
        {"compression": 10, "accuracy": 0.5, "criterion": name, "maker": name, "timing": "before",
         "seed": 0, "rounds": rounds, "granularity": "weight",
         "name": f"{name}-{rounds}" if rounds > 1 else name, "network": "vgg",
         "data": "digits", "kind": kind, "split": split}
        for name in names for rounds in (1, 100) for kind, split in (("live", "val"), ("recorded", "test"))
    ]  # fmt: skip
    saved = "Saved the masks as playground-digits-lenet-300-100-magnitude-32670x-masks.safetensors"
    if compare:
        for side, name in zip(made["sides"], ("magnitude, smart-ratio", "magnitude-100, after"), strict=True):
            side["name"] = name
    menu = page.evaluate("model.get('menu')") | {
        "stops": stops,
        "allocations": ["global", "layer", "smart-ratio-vgg"],
        "data": ["digits", "fashion-mnist"],
        "networks": {"digits": ["vgg", "lenet-300-100"]},
    }
    status = {"busy": "", "progress": 0, "message": saved, "error": ""}
    choices = page.evaluate("model.get('choices')") | {"allocation": "smart-ratio-vgg"}
    if compare:
        choices["compare"] = way(rounds=100) | {"timing": "after"}
    put(page, menu=menu, choices=choices, frame=made, curve=curve, status=status)


def units(page: Any, compare: str | None) -> None:
    """Units of more than a weight, of which the sentence says more; with `compare` a fixed share."""
    show(page, 8, compare=compare)
    made = frame(0, STOPS[8], compare)
    for side in made["sides"]:
        side["unit"], side["mask"]["unit"] = "kernel", "kernel"
        told = (
            "12,345 of 123,456 kernels kept; first.conv, last.fully.connected and 12 more stay dense (12,345 weights)"
        )
        side["sentence"] = f"75.0 % removed, 4x; all 3 layers alive; {told}; effective 75.1 %"
        side["mask"]["note"] = "one cell = one weight, in groups of 3 x 3; the first 24 x 48"
    menu = page.evaluate("model.get('menu')") | {
        "granularities": ["weight", "block 4x4", "pattern"],
        "fixed": {"pattern": 2.25},
    }
    put(
        page,
        menu=menu,
        choices=page.evaluate("model.get('choices')") | {"granularity": "pattern" if compare else "block 4x4"},
        frame=made,
    )


def own(page: Any, compare: str | None, face: str = "live") -> None:
    """Long names of the user's own things: shortened, with the whole name under the pointer."""
    show(page, LAST, face=face, compare=compare)
    layers = [f"{i}.{LONG}" for i in range(3)]
    made = frame(0, 700.0, compare)
    for side in made["sides"]:
        side["criterion"] = side["name"] = LONG
        side["alarm"] = f"3 of 3 layers have no weight left: {', '.join(layers)}"
        for layer, name in zip(side["layers"], layers, strict=True):
            layer["name"] = name
        side["mask"]["layer"] = layers[0]
    menu = page.evaluate("model.get('menu')") | {"data": [LONG], "networks": {LONG: [LONG]}, "layers": layers,
                                                 "criteria": [LONG, "snip"]}  # fmt: skip
    choices = {"data": LONG, "network": LONG, "criterion": LONG, "layer": layers[0]}
    choices["compare"] = way(LONG, 2) if compare else None  # type: ignore[assignment]
    point = {
        "compression": 10,
        "accuracy": 0.5,
        "criterion": LONG,
        "maker": LONG,
        "timing": "before",
        "name": f"{LONG}-5",
        "seed": 0,
        "rounds": 5,
        "network": LONG,
        "data": LONG,
    }
    ahead = [
        {**way(LONG, rounds), "stops": [1.0, 700.0], "sides": [side, side]}
        for rounds, side in enumerate(made["sides"], start=1)
    ]
    frames = {"settings": ahead} if face == "site" else {}
    curve = [point | {"kind": "live", "split": "val"}]
    put(
        page, menu=menu, choices=page.evaluate("model.get('choices')") | choices, frame=made, curve=curve, frames=frames
    )


def panel(page: Any) -> None:
    show(page, 10)
    page.get_by_role("button", name="State").click()
    text = "\n".join(f"line {i} of a text that is as long as lines of code are, or a little longer" for i in range(9))
    page.evaluate("text => model.fire('msg:custom', {kind: 'text', title: 'State', text, editable: true})", text)


BROKEN = "ValueError: sparsity is the fraction removed, in [0, 1); got 10. For 10x compression pass sparsity=0.9. " * 4
STATES: dict[str, Callable[[Any], None]] = {
    "dense": lambda page: show(page, 0),
    "first": lambda page: show(page, 10, theme="dark"),
    "collapsed": lambda page: show(page, LAST),
    "compare": lambda page: show(page, 8, compare="random", theme="dark"),
    "compare collapsed": lambda page: show(page, LAST, compare="synflow"),
    "training": lambda page: show(page, 16, status={"busy": "training", "progress": 0.4, "message": "epoch 5 of 12"}),
    "films": lambda page: (show(page, 8, compare="snip"), chosen(page, timing="rewound"), recorded(page, sides=2)),  # type: ignore[func-returns-value]
    "error": lambda page: show(page, 16, status={"error": BROKEN}),
    "panel": panel,
    "site": lambda page: show(page, 16, table=True, face="site"),
    "site compare": lambda page: show(page, LAST, table=True, face="site", compare="grasp"),
    "no point": lambda page: (show(page, 4), put(page, curve=[], baseline={"dense": None, "split": "val"})),  # type: ignore[func-returns-value]
    "large": lambda page: large(page, None),
    "large compare": lambda page: large(page, "snip"),
    "units": lambda page: units(page, None),
    "units compare": lambda page: units(page, "snip"),
    "own": lambda page: own(page, None),
    "own compare": lambda page: own(page, "snip", face="site"),
}


WRITTEN = """() => document.querySelector(".wb-root").innerText
  + [...document.querySelectorAll("canvas")].flatMap(({ texts }) => texts.map(({ text }) => text)).join("")"""


def test_no_text_is_cut_with_one_family_of_fonts(alone: Any) -> None:
    page, tools, family, paths = alone
    found, written = {}, set()
    for name, reach in STATES.items():
        reach(page)
        for size in (16, 20):  # the second size, and the other layouts, come while it is shown
            tools.send("Page.setFontSizes", {"fontSizes": {"standard": size}})
            for layout, (width, height) in LAYOUTS.items():
                page.set_viewport_size({"width": width, "height": height})
                laid_out(page)
                if seen := wrong(page):
                    found[name, layout, size] = seen
            assert page.locator(".wb-root").evaluate("e => getComputedStyle(e).fontSize") == f"{13 * size / 16:g}px"
            written |= set(page.evaluate(WRITTEN))
    assert found == {}
    for path in paths:
        lacking = {
            letter for letter in written if letter.isprintable() and ord(letter) not in FT2Font(path).get_charmap()
        }
        assert lacking == set()
    for domain in ("DOM", "CSS"):
        tools.send(f"{domain}.enable")
    document = tools.send("DOM.getDocument")["root"]["nodeId"]
    head = tools.send("DOM.querySelector", {"nodeId": document, "selector": ".wb-head"})
    used = tools.send("CSS.getPlatformFontsForNode", head)["fonts"]
    assert {font["familyName"] for font in used} == {family}


PLANTED = {
    "cut by .wb-row": ".wb-root .wb-row { width: 100px; flex-wrap: nowrap; }",
    "cut by .wb-title": ".wb-title { width: 60px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }",
    "cut by .wb-number": ".wb-numbers { height: 30px; } .wb-number { height: 26px; }",
    "cut in a menu: magnitude": ".wb-field-criterion select { width: 60px; }",
    "overlap: 83.8 % removed": ".wb-rest { margin-top: -20px; }",
    "scrolls: wb-page": ".wb-card { width: 900px; }",
    "does not fill its container: 840": ".wb-root.wb-playground { width: 840px; }",
}


def test_the_check_sees_what_is_planted(page: Any) -> None:
    show(page, 10)
    assert wrong(page) == []  # with the fonts of this machine, whatever they are
    for expected, style in PLANTED.items():
        sheet = page.add_style_tag(content=style)
        assert any(line.startswith(expected) for line in wrong(page)), expected
        sheet.evaluate("node => node.remove()")
    laid_out(page)
    texts = "document.querySelector('canvas.wb-layers').texts"
    for expected, change in {
        "overlap in wb-layers: ": "left = 0",
        "leaves wb-layers": "right = 2000",
        "cut in wb-layers": "text = '\u2026x'",
    }.items():
        page.evaluate(f"() => {{ window.whole = structuredClone({texts}); for (const box of {texts}) box.{change}; }}")
        assert any(line.startswith(expected) for line in wrong(page)), expected
        page.evaluate(f"() => {{ {texts} = window.whole; }}")
    assert wrong(page) == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [16, 20])
def test_nothing_jumps_when_the_numbers_change(page: Any, size: int, layout: str) -> None:
    page.set_viewport_size(dict(zip(("width", "height"), LAYOUTS[layout], strict=True)))
    page.context.new_cdp_session(page).send("Page.setFontSizes", {"fontSizes": {"standard": size}})
    places = """() => [...document.querySelectorAll("canvas, input, select, button, .wb-alarm, .wb-numbers")]
      .map((e) => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"""
    seen = []
    for stop, compare in ((0, None), (LAST, None), (LAST, "synflow")):
        show(page, stop, compare=compare)
        seen.append(page.evaluate(places))
    assert seen[0] == seen[1] == seen[2]


BOXES = """() => Object.fromEntries([".wb-root", ".wb-head", "input.wb-range", "canvas.wb-layers", ".wb-side"]
  .map((name) => [name, document.querySelector(name).getBoundingClientRect()]))"""
SIZES = """() => [...document.querySelectorAll(".wb-root *")].filter((e) => e.checkVisibility() && e.innerText?.trim())
  .map((e) => parseFloat(getComputedStyle(e).fontSize))"""


def test_each_layout_suits_its_screen(page: Any) -> None:
    show(page, 10)
    boxes, fonts = {}, {}
    for layout, (width, height) in LAYOUTS.items():
        page.set_viewport_size({"width": width, "height": height})
        laid_out(page)
        boxes[layout] = page.evaluate(BOXES)
        fonts[layout] = page.evaluate(SIZES)
    phone, laptop, projector = (boxes[layout] for layout in LAYOUTS)
    order = [phone[name]["top"] for name in (".wb-head", "input.wb-range", "canvas.wb-layers", ".wb-side")]
    assert order == sorted(order)
    assert phone["canvas.wb-layers"]["bottom"] < 480  # headline, slider and the first picture above the fold
    assert laptop[".wb-root"]["height"] <= 600  # JupyterLab at 1280 x 720 has 608 px for a notebook
    assert laptop[".wb-side"]["right"] < laptop[".wb-head"]["left"]
    assert projector[".wb-root"]["height"] <= 850  # 1920 x 1080 less the rows of JupyterLab and of the browser
    assert min(fonts["projector"]) >= 15.5
    assert min(fonts["phone"]) >= min(fonts["laptop"]) >= 10.5
    page.evaluate("() => { document.body.style.display = 'flex'; }")  # as in an HBox, which asks how wide it is
    laid_out(page)
    assert page.locator(".wb-root").evaluate("e => e.clientWidth") == 840


def test_a_picture_is_drawn_anew_for_a_screen_with_other_pixels(page: Any) -> None:
    show(page, 10)
    tools = page.context.new_cdp_session(page)
    ratio = "() => [...document.querySelectorAll('canvas')].map((c) => Math.round(10 * c.width / c.clientWidth) / 10)"
    for pixels in (2, 1.5, 1):  # zoom: fewer and larger CSS pixels
        screen = {"width": round(1400 / pixels), "height": 700, "deviceScaleFactor": pixels, "mobile": False}
        tools.send("Emulation.setDeviceMetricsOverride", screen)
        laid_out(page)
        assert page.evaluate(ratio) == 4 * [pixels]


def test_a_view_that_was_hidden_is_drawn_when_it_is_shown(page: Any) -> None:
    show(page, 10)
    sizes = "() => [...document.querySelectorAll('canvas')].map(({ width, height }) => [width > 250, height > 120])"
    for display, drawn in (("none", [False, False]), ("block", [True, True])):
        page.evaluate("display => { document.body.style.display = display; }", display)
        laid_out(page)
        assert page.evaluate(sizes) == 4 * [drawn]
    assert wrong(page) == []


def test_a_theme_that_changes_while_the_view_is_hidden_for_part_of_a_frame_leaves_it_drawn(page: Any) -> None:
    show(page, 10, theme="auto")
    page.evaluate(
        """async () => {  // JupyterLab hides itself while it loads a theme
          document.body.style.display = "none";
          document.body.dataset.jpThemeLight = "false";
          await new Promise((told) => setTimeout(told));
          await new Promise((shown) => requestAnimationFrame(() => { document.body.style.display = ""; shown(); }));
        }"""
    )
    laid_out(page)
    assert page.get_attribute(".wb-root", "data-theme") == "dark"
    assert page.evaluate("() => [...document.querySelectorAll('canvas')].every(({ width }) => width > 250)")
    assert wrong(page) == []
