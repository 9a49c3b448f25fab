"""The playground's site face: a page that answers in the browser, with no kernel and no network."""

from __future__ import annotations

import html
import json
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from workbench.explorers.playground import picture
from workbench.explorers.playground.choices import Choices, stops
from workbench.explorers.playground.session import Session
from workbench.explorers.still import Still, settle, summary

STATIC = Path(__file__).parent / "static"
EVERY = 4
"""Of the slider's stops, iterated criteria get each fourth: every stop costs all their rounds."""

SHIM = """
const listeners = {};
const model = {
  get: (name) => traits[name],
  set: (name, value) => { traits[name] = value; (listeners["change:" + name] || []).forEach((f) => f()); },
  on: (name, f) => { (listeners[name] ??= []).push(f); },
  off: (name, f) => { listeners[name] = (listeners[name] || []).filter((g) => g !== f); },
  save_changes: () => {},
  send: () => {},
};
explorer.render({ model, el });
"""


def show(session: Session, choices: Choices) -> Still:
    """The view with the frames of every stop of the slider, and the picture for readers of the notebook's file."""
    choices, frame = settle(session, choices)
    drawn = picture.show(session, choices).bundle["image/png"]
    choices = replace(choices, request=0)
    menu = session.menu(choices)
    if choices.rounds > 1:
        menu["stops"] = sorted({*stops(menu["stops"][-1], EVERY), choices.compression})
    frames = {}
    for index, stop in enumerate(menu["stops"]):
        frames[str(index)] = settle(session, replace(choices, compression=stop))[1]
    traits = {
        "menu": {**menu, "faces": "site", "title": "Pruning playground"},
        "choices": asdict(choices),
        "frame": frame,
        "frames": frames,
        "curve": session.points.curve(choices),
        "baseline": session.points.baseline(choices),
        "status": {"busy": "", "progress": 0, "message": "", "error": ""},
    }
    said = summary(choices, frame)
    return Still(choices, frame, {"text/html": _html(traits, said), "image/png": drawn, "text/plain": said})


def _html(traits: dict[str, Any], said: str) -> str:
    """One self-contained element: style, fallback text, data and script; several may stand on one page."""
    mark = f"wb-{uuid.uuid4().hex}"
    script = (STATIC / "playground.js").read_text(encoding="utf-8").replace("export default", "const explorer =", 1)
    data = json.dumps(traits, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"<style>{(STATIC / 'playground.css').read_text(encoding='utf-8')}</style>"
        f'<div id="{mark}"></div><noscript><pre>{html.escape(said)}</pre></noscript>'
        f'<script type="module">const el = document.getElementById("{mark}");\n'
        f"const traits = {data};\n{script}\n{SHIM}</script>"
    )
