"""The playground holds with any font and with larger texts: nothing cut, nothing overlapping, nothing scrolling.

One Chromium for each family that Linux desktops come with, and no other font for it: fontconfig offers that family alone,
so that page and canvas both get it. Larger texts are the reader's font size setting (Chromium: Appearance, Font size,
Large: 20 px instead of 16).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import ARGS, CHROMIUM, unavailable
from test_frontend import LAST, NAMES, STOPS, frame, settle, show

FAMILIES = {
    "DejaVu Sans": ("fonts-dejavu-core", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    "Liberation Sans": ("fonts-liberation", "LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    "Noto Sans": ("fonts-noto-core", "NotoSans-Regular.ttf", "NotoSans-Bold.ttf"),
}
FONTS = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts"]
LONG = "a-name-that-somebody-gave-to-something-of-their-own"

FINDINGS = """
() => {
  const root = document.querySelector(".wb-root"), found = [], shown = [];
  const over = root.querySelector(".wb-panel") ?? root.querySelector(".wb-error:not([hidden])"); // hides what is below it
  const walk = document.createTreeWalker(over ?? root, NodeFilter.SHOW_TEXT);
  const say = (what, text) => found.push(`${what}: ${text}`);
  const may = (e, text) => e.matches(".wb-fixed, .wb-who, .wb-alarm span, .wb-message") && e.closest("[title]")?.title.includes(text);
  while (walk.nextNode()) {
    const own = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !own.checkVisibility() || own.closest(".wb-hush, option, textarea, .wb-card label")) continue;
    const range = document.createRange();
    range.selectNodeContents(walk.currentNode);
    for (const { left, right, top, bottom } of range.getClientRects()) {
      const trim = 0.16 * (bottom - top), box = { text, own, left, right, top: top + trim, bottom: bottom - trim }; // a font's ascent and descent hold air
      for (let e = own; e && e !== document.body; e = e.parentElement) {
        const around = e.getBoundingClientRect(), inline = getComputedStyle(e).display === "inline";
        if (e.matches(".wb-ticks") || inline) continue;
        if (box.left >= around.left - 1 && box.right <= around.right + 1 && box.top >= around.top - 1 && box.bottom <= around.bottom + 1) continue;
        if (may(own, text)) { box.right = Math.min(box.right, around.right); box.hidden = box.top + box.bottom > 2 * around.bottom || box.left > around.right; continue; }
        say(`cut by .${e.className || e.tagName}`, text);
        break;
      }
      if (!box.hidden) shown.push(box);
    }
  }
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  shown.forEach((a, i) => shown.slice(i + 1).forEach((b) => { if (a.own !== b.own && meet(a, b)) say("overlap", `${a.text} | ${b.text}`); }));
  for (const e of (over ?? root).querySelectorAll("select")) {
    if (!e.checkVisibility()) continue;
    const style = getComputedStyle(e), ctx = document.createElement("canvas").getContext("2d");
    ctx.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const room = e.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    for (const { text } of e.options) if (ctx.measureText(text).width > room + 1 && !text.includes("LONG")) say("cut in a menu", text);
    if (e.title !== e.value) say("no title", e.value);
  }
  for (const e of [root, ...root.querySelectorAll("*:not(option, textarea)")]) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(e).overflowY) && e.scrollHeight > e.clientHeight;
    if (scrolls || (e.matches(".wb-root, .wb-side, .wb-main, .wb-card, .wb-numbers, .wb-grid, button") && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)))
      say("scrolls", e.className || e.tagName);
  }
  for (const canvas of over ? [] : root.querySelectorAll("canvas")) {
    const { texts, clientWidth: width, clientHeight: height } = canvas;
    if (!texts.length) say("no text", canvas.className);
    for (const [i, a] of texts.entries()) {
      if (a.left < -0.5 || a.top < -0.5 || a.right > width + 0.5 || a.bottom > height + 0.5) say(`leaves the ${canvas.className}`, a.text);
      if (a.text.includes("\u2026") && !"LONG".endsWith(a.text.slice(1)) && !a.text.endsWith("LONG".slice(-5))) say(`cut in the ${canvas.className}`, a.text);
      for (const b of texts.slice(i + 1)) if (meet(a, b)) say(`overlap in the ${canvas.className}`, `${a.text} | ${b.text}`);
    }
  }
  const { offsetWidth, offsetHeight } = root;
  if (offsetWidth !== 840 || offsetHeight !== 640) say("box", `${offsetWidth} x ${offsetHeight}`);
  return found;
}
""".replace("LONG", LONG)


@pytest.fixture(scope="module", params=FAMILIES)
def font_page(request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page in a Chromium that has one family of fonts."""
    package, *files = FAMILIES[request.param]
    paths = [path for name in files for folder in FONTS for path in sorted(folder.rglob(name))[:1]]
    if len(paths) < len(files):
        unavailable(f"the font {request.param} is not installed (Debian: apt-get install {package})")
    folder = tmp_path_factory.mktemp("fonts")
    for path in paths:
        (folder / path.name).symlink_to(path)
    config = folder / "fonts.conf"
    config.write_text(f"<fontconfig><dir>{folder}</dir><cachedir>{folder}/cache</cachedir></fontconfig>")
    alone = browser.browser_type.launch(
        executable_path=str(CHROMIUM), args=ARGS, env={**os.environ, "FONTCONFIG_FILE": str(config)}
    )
    page = alone.new_page(viewport={"width": 900, "height": 700})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    alone.close()
    assert errors == []


def put(page: Any, **traits: Any) -> None:
    """Change what the stand-in for the kernel says."""
    page.evaluate("traits => { for (const [name, value] of Object.entries(traits)) model.set(name, value); }", traits)
    settle(page)


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
        side["numbers"] |= {"kept": 24_557_032, "total": 25_557_032, "size_ratio": 32670, "macs_dense": 4.11e9,
                            "macs": 4.01e9, "critical": 32670, "max_compression": 473_279, "effective": 0.99997}  # fmt: skip
        side["scores"] |= {"zero": 1_234_567, "label": "score, signed log10(1 + |s| / 1e-05)"}
        side["mask"]["note"] = "one cell = mean of 12 x 128 weights"
    stops = [1.12**i for i in range(116)]
    names = ["fisher", "force", "grasp", "lamp", "lrp", "magnitude", "ntk-sap", "obd", "obs", "phew", "prospr", "random"]
    curve = [
        {"compression": 10, "accuracy": 0.5, "criterion": name, "seed": 0, "rounds": rounds, "network": "vgg",
         "data": "digits", "kind": "live"}
        for name in names for rounds in (1, 100)
    ]  # fmt: skip
    saved = "Saved the masks as playground-digits-lenet-300-100-magnitude-32670x-masks.safetensors"
    menu = page.evaluate("model.get('menu')") | {
        "stops": stops,
        "allocations": ["global", "layer", "smart-ratio-vgg"],
        "data": ["digits", "fashion-mnist"],
        "networks": {"digits": ["vgg", "lenet-300-100"]},
    }
    status = {"busy": "", "progress": 0, "message": saved, "error": ""}
    choices = page.evaluate("model.get('choices')") | {"allocation": "smart-ratio-vgg"}
    put(page, menu=menu, choices=choices, frame=made, curve=curve, status=status)


def own(page: Any, compare: str | None, face: str = "live") -> None:
    """Long names of the user's own things: shortened, with the whole name under the pointer."""
    show(page, LAST, face=face, compare=compare)
    layers = [f"{i}.{LONG}" for i in range(3)]
    made = frame(0, 700.0, compare)
    for side in made["sides"]:
        side["criterion"] = LONG
        side["alarm"] = f"3 of 3 layers have no weight left: {', '.join(layers)}"
        for layer, name in zip(side["layers"], layers, strict=True):
            layer["name"] = name
        side["mask"]["layer"] = layers[0]
    menu = page.evaluate("model.get('menu')") | {"data": [LONG], "networks": {LONG: [LONG]}, "layers": layers,
                                                 "criteria": [LONG, "snip"]}  # fmt: skip
    choices = {"data": LONG, "network": LONG, "criterion": LONG, "layer": layers[0]}
    point = {"compression": 10, "accuracy": 0.5, "criterion": LONG, "seed": 0, "rounds": 5, "network": LONG, "data": LONG}
    put(page, menu=menu, choices=page.evaluate("model.get('choices')") | choices, frame=made,
        curve=[point | {"kind": "live"}])  # fmt: skip


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
    "error": lambda page: show(page, 16, status={"error": BROKEN}),
    "panel": panel,
    "site": lambda page: show(page, 16, table=True, face="site"),
    "site compare": lambda page: show(page, LAST, table=True, face="site", compare="grasp"),
    "no point": lambda page: (show(page, 4), put(page, curve=[], baseline={"dense": None})),  # type: ignore[func-returns-value]
    "large": lambda page: large(page, None),
    "large compare": lambda page: large(page, "snip"),
    "own": lambda page: own(page, None),
    "own compare": lambda page: own(page, "snip", face="site"),
}


@pytest.mark.parametrize("size", [16, 20], ids=["100 %", "125 %"])
def test_no_text_is_cut_with_one_family_of_fonts(font_page: Any, size: int) -> None:
    font_page.context.new_cdp_session(font_page).send("Page.setFontSizes", {"fontSizes": {"standard": size}})
    found = {}
    for name, reach in STATES.items():
        reach(font_page)
        assert font_page.locator(".wb-root").evaluate("e => getComputedStyle(e).fontSize") == f"{13 * size / 16:g}px"
        if seen := font_page.evaluate(FINDINGS):
            found[name] = seen
    assert found == {}
