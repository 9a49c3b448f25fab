// The page of `wb.explore`: controls, what the picture function returned, and what to do with it. With a kernel the controls are widgets, which this page
// only places; without one they are made here, and move through the stored frames.
import { field, make, ownKeys, wordSlider, write } from "./kit.js";
import { shell } from "./explorer.js";
import { raster } from "./raster.js";

const SPEAK_MS = 15000; // how often a picture that is drawn again by itself is said
const NO_KERNEL = "This page has no kernel.";

// ---------------------------------------------------------------- what a picture function returned
function part({ kind, data, html, text, width, alt }, scale) {
  if (kind === "image") return make("img", { src: `data:image/png;base64,${data}`, alt, width: Math.round(scale * width) });
  if (kind === "html") return make("div", { class: "wb-html", innerHTML: html, tabIndex: 0 });
  return make("pre", { textContent: text });
}

function showParts(node, parts, scale) { // the pictures that stay in place only change, so that nothing jumps
  const same = node.children.length === parts.length && parts.every(({ kind }, i) => kind === "image" && node.children[i].tagName === "IMG");
  if (same) parts.forEach(({ data, width, alt }, i) => Object.assign(node.children[i], { src: `data:image/png;base64,${data}`, width: Math.round(scale * width), alt }));
  else node.replaceChildren(...parts.map((one) => part(one, scale)));
}

const scaleOf = (root) => Math.round(20 * Math.min(1.5, Math.max(1, root.clientWidth / 1150))) / 20; // a projector's page is wide

// ---------------------------------------------------------------- controls
async function liveControls(model, node, listen) { // the widgets themselves, wherever else they may be shown
  const { widget_manager: manager } = model, views = [];
  for (const reference of model.get("controls")) {
    const control = await manager.get_model(reference.replace("IPY_MODEL_", "")), view = await manager.create_view(control, {});
    views.push(view);
    view.el.querySelectorAll("button, input, select, textarea").forEach(ownKeys);
    node.append(view.el);
    listen(control);
  }
  return () => views.forEach((view) => view.remove());
}

const place = (control) => { // the place among its options, by which a stored frame is found
  const index = control.get("index"), value = control.get("value");
  return typeof index === "number" ? index : typeof value === "boolean" ? Number(value) : null;
};

function storedControls(menu, places, move) { // `menu.stored`: for each control the places that have a frame
  return menu.controls.map(({ label, words, slides, raster: cells }, i) => {
    const free = menu.stored[i], chosen = () => free.indexOf(places[i]), to = (at) => move(i, free[at]);
    if (cells.columns) {
      const board = raster((at) => move(i, at));
      return { node: board.node, update: () => board.update(label, words, places[i], cells, (at) => free.includes(at)) };
    }
    if (free.length > 1 && slides) {
      const slider = wordSlider(to);
      return { node: slider.node, update: () => slider.update(label, free.map((at) => words[at]), chosen()) };
    }
    const options = free.map((at) => words[at]), menuOf = field("stored", label, (word) => to(options.indexOf(word)));
    return { node: menuOf.node, update: () => menuOf.update(options, words[places[i]], free.length < 2) };
  });
}

// ---------------------------------------------------------------- the whole
export default {
  render({ model, el }) {
    const menu = model.get("menu"), { live, staged } = menu, places = [...menu.places];
    const controls = make("div", { class: "wb-controls" }), shown = make("div", { class: "wb-shown" }), said = make("div", { class: "wb-hush", role: "status" });
    const message = make("div", { class: "wb-message" }), progress = make("progress", { max: 1, value: 0, "aria-label": "Progress" }), buttons = {};
    const button = (text, kind, name = "") => (buttons[kind] = make("button", { type: "button", textContent: text, className: name, onclick: () => ask(kind) }));
    const run = make("div", { class: "wb-row wb-run" }, button("Run", "run", "wb-train"), button("Cancel", "cancel"), progress);
    const tools = make("div", { class: "wb-row wb-tools" }, message, button("Show code", "code"), button("State", "state"), button("Save", "save"));
    const own = live ? [] : storedControls(menu, places, (i, at) => { places[i] = at; draw(); });
    const key = () => places.join(","), stored = () => model.get("frames")[key()];
    let drawn = "", scale = 0, ended = false, spoken = 0, later = 0;

    function paint(look, note, doing) {
      const frame = model.get("frame"), status = model.get("status"), kept = stored();
      const newest = kept && (!live || frame.key !== key()) ? kept : frame, mark = newest === frame ? `f${frame.request}` : `s${key()}`;
      const now = scaleOf(root);
      own.forEach(({ update }) => update());
      if (now !== scale) {
        [scale, drawn] = [now, ""];
        root.style.setProperty("--wb-scale", scale);
        if (live) send({ kind: "screen", ratio: scale * (window.devicePixelRatio || 1) });
      }
      if (mark !== drawn) {
        showParts(shown, newest.parts, scale);
        const speak = () => { write(said, newest.words); spoken = performance.now(); };
        const wait = newest.again ? spoken + SPEAK_MS - performance.now() : 0;
        clearTimeout(later);
        if (wait > 0) later = setTimeout(speak, wait); else speak(); // the last one is said, too
        drawn = mark;
      }
      run.hidden = !staged || !live;
      buttons.run.disabled = Boolean(status.busy);
      buttons.cancel.disabled = !status.busy;
      progress.value = status.progress;
      for (const kind of ["code", "state", "save"]) buttons[kind].hidden = !live;
      write(message, note || status.message || doing || (live ? "" : `${NO_KERNEL} ${menu.told}`));
      const old = Boolean(status.error) || (live && staged && frame.parts.length > 0 && frame.key !== key());
      return { drawn: mark, stop: key(), failed: String(old) };
    }

    const { root, ask, guard, draw, redraw, start, send } = shell({ model, el }, {
      name: menu.title, theme: () => "auto", looks: () => ({}), paint, on: { "change:frame": () => {}, "change:frames": () => {} },
    });
    root.classList.add("wb-explore");
    controls.append(...own.map(({ node }) => node));
    const end = start([controls, run, shown, tools, said]), endings = [end, () => clearTimeout(later)];
    if (live) {
      let at = 0;
      liveControls(model, controls, (control) => {
        const i = at++, follow = guard(() => { places[i] = place(control); send({ kind: "alive" }); if (stored()) draw(); else redraw(); });
        for (const kind of ["change:index", "change:value"]) control.on(kind, follow);
        endings.push(() => { for (const kind of ["change:index", "change:value"]) control.off(kind, follow); });
        follow();
      }).then((close) => (ended ? close() : endings.push(close)), guard((error) => { throw error; }));
    }
    return () => { ended = true; endings.forEach((close) => close()); };
  },
};
