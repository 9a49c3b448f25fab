// What the page of every explorer is made of: words, nodes, controls, pictures, themes, requests and answers, errors, panels.
// Data flows one way: an action writes `choices` (or sends a message), the model answers with traits, `paint` draws what the traits say.
// The style sheet decides how large a picture is, and nothing in it hangs on one font: texts are measured where they are drawn.

const WAIT_MS = 250; // how long one unanswered request holds back the next
const GONE = "The kernel was restarted or has ended, and it no longer knows this explorer. Run this cell again.";
const NOTCH = "M-.7 -1L.7 -1L0 .6Z";
const ICONS = {
  alarm: "M8 1.2L15.4 14.4H.6ZM7.1 6V10H8.9V6ZM7.1 11.2V12.9H8.9V11.2Z",
  auto: "M8 1.5A6.5 6.5 0 1 0 8 14.5A6.5 6.5 0 1 0 8 1.5ZM8 3V13A5 5 0 0 1 8 3Z",
  light: "M8 4.6A3.4 3.4 0 1 0 8 11.4A3.4 3.4 0 1 0 8 4.6ZM7.2 .8H8.8V3H7.2ZM7.2 13H8.8V15.2H7.2ZM.8 7.2H3V8.8H.8ZM13 7.2H15.2V8.8H13ZM2.4 3.5L3.5 2.4L5 3.9L3.9 5ZM11 12.1L12.1 11L13.6 12.5L12.5 13.6ZM2.4 12.5L3.9 11L5 12.1L3.5 13.6ZM11 3.9L12.5 2.4L13.6 3.5L12.1 5Z",
  dark: "M6.2 1.6A6.6 6.6 0 1 0 14.4 9.8A5.4 5.4 0 0 1 6.2 1.6Z",
};

// ---------------------------------------------------------------- words and numbers
export const comma = (n) => Math.round(n).toLocaleString("en-US");
export const three = (n) => Number(n.toPrecision(3));
export const times = (c) => `${c < 999.5 ? three(c) : comma(c)}x`;
const decimals = (share) => (share < 0.99 ? 1 : share < 0.999 ? 2 : share < 0.9999 ? 3 : 4);
export const percent = (share) => `${share < 1 ? (100 * share).toFixed(decimals(share)) : 100} %`;
export const short = (n) => (n >= 1e9 ? `${three(n / 1e9)} G` : n >= 1e6 ? `${three(n / 1e6)} M` : n >= 1e4 ? `${three(n / 1e3)} k` : comma(n));

export function nearest(stops, value) { // the place of the stop that is nearest on a log axis
  const away = stops.map((stop) => Math.abs(Math.log(stop / value)));
  return Math.max(0, away.indexOf(Math.min(...away)));
}

// ---------------------------------------------------------------- nodes
export class Told extends Error {} // of what the visitor did; any other error is a failure of the explorer
export const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
let serial = Math.floor(Math.random() * 1e9); // ids stay apart where every explorer loads a copy of this file
const newId = (kind) => `wb-${kind}-${(serial += 1)}`;

export function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export function svg(path, size, fill = "currentColor", box = "0 0 16 16") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const attributes = { viewBox: box, width: size, height: size, "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of Object.entries({ d: path, fill, "fill-rule": "evenodd" })) shape.setAttribute(key, value);
  node.append(shape);
  return node;
}

export const notch = (size, fill) => svg(NOTCH, size, fill, "-1 -1 2 2");
export const alarm = (text) => make("div", {}, svg(ICONS.alarm, 15), make("span", { textContent: text }));

export function renew(node, key, build) { // new children where what they show has changed
  const words = JSON.stringify(key);
  if (node.dataset.key === words) return;
  node.dataset.key = words;
  node.replaceChildren(...build());
}

// ---------------------------------------------------------------- controls: each has a node and says how it is updated
export function field(key, label, choose) {
  const id = newId(key), select = make("select", { id }), fixed = make("span", { class: "wb-fixed", hidden: true });
  const name = make("label", { htmlFor: id, textContent: label }), plain = make("span", { class: "wb-name", textContent: label, hidden: true });
  let options = [], shown = "";
  select.addEventListener("change", () => choose(options[select.selectedIndex]));
  return {
    node: make("div", { class: `wb-field wb-field-${key}` }, name, plain, select, fixed),
    update(next, value, frozen) {
      const words = next.map((option) => (option === null ? "none" : String(option)));
      if (shown !== words.join("\n")) {
        select.replaceChildren(...words.map((word) => make("option", { value: word, textContent: word })));
        shown = words.join("\n");
      }
      options = next;
      select.selectedIndex = next.indexOf(value);
      write(fixed, value === null ? "none" : String(value));
      select.title = fixed.title = fixed.textContent;
      for (const node of [select, name]) node.hidden = frozen;
      for (const node of [fixed, plain]) node.hidden = !frozen;
    },
  };
}

// A slider over stops on a log axis, with powers of ten where they have room and notches at places of note.
export function slider(label, move) {
  let stops = [1], now = 0, measured = null;
  const id = newId("range");
  const go = (to) => {
    const stop = Math.min(stops.length - 1, Math.max(0, to));
    if (stop !== now) move(stops[(now = stop)]);
  };
  const onkeydown = (event) => {
    const to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageUp: now + 10, PageDown: now - 10, Home: 0, End: Infinity }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  const range = make("input", { type: "range", id, class: "wb-range", min: 0, step: 1, oninput: () => go(Number(range.value)), onkeydown });
  const ticks = make("div", { class: "wb-ticks", "aria-hidden": "true" });
  const tick = (at, last, name, ...children) => {
    const node = make("span", { class: name }, ...children);
    node.style.left = `${(100 * Math.log(at)) / Math.log(last)}%`;
    return node;
  };
  return {
    node: make("div", { class: "wb-slider" }, make("label", { class: "wb-hush", htmlFor: id, textContent: label }), range, ticks),
    width: 0,
    update(next, stop, words, notches, look) {
      [stops, now] = [next, stop];
      if (measured !== look) [measured, this.width] = [look, range.clientWidth];
      const last = stops.length - 1, most = stops[last], share = stop / Math.max(1, last), { width } = this;
      range.max = last;
      range.value = stop;
      range.setAttribute("aria-valuetext", words);
      range.style.setProperty("--wb-fill", `calc(12px + (100% - 24px) * ${share.toFixed(4)})`);
      renew(ticks, [most, notches, look.unit, width], () => {
        const end = `max ${times(most)}`, room = width - 20 - look.wide(end, 400, 11.5), powers = [];
        let free = -Infinity;
        for (let c = 1; c <= most * (1 + 1e-9); c *= 10) {
          const half = look.wide(`${comma(c)}x`, 400, 11.5) / 2, middle = (Math.log(c) / Math.log(most)) * (width - 24);
          if (middle - half <= free || middle + half >= room) continue;
          free = middle + half + 8;
          powers.push(c);
        }
        return [...powers.map((c) => tick(c, most, "", `${comma(c)}x`)), tick(most, most, "wb-end", end),
          ...notches.map(({ at, colour }) => tick(at, most, "wb-notch", notch(12, colour)))];
      });
    },
  };
}

// ---------------------------------------------------------------- looks: the style sheet's colours and font, and the colour and marker that Python gave a name
const bytes = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const light = (rgb) => rgb.reduce((sum, v, i) => sum + (v / 255) ** 2.2 * [0.2126, 0.7152, 0.0722][i], 0.05); // relative luminance, as WCAG contrasts it

export function onGround(colour, ground) { // mixed with white until it stands out on dark ground as it does on white
  const rgb = bytes(colour), wanted = Math.min(1.05 / light(rgb), 1.05 / light(bytes(ground)));
  for (let share = 0; share <= 1; share += 0.05) {
    const mixed = rgb.map((v) => Math.round(v + (255 - v) * share));
    if (light(mixed) / light(bytes(ground)) >= wanted - 0.01) return `#${mixed.map((v) => v.toString(16).padStart(2, "0")).join("")}`;
  }
  return "#ffffff";
}

function readLook(root, choice, given) {
  const lab = document.body.dataset.jpThemeLight, night = lab === undefined ? window.matchMedia("(prefers-color-scheme: dark)").matches : lab === "false";
  const theme = choice === "auto" ? (night ? "dark" : "light") : choice;
  root.dataset.theme = theme;
  const style = getComputedStyle(root), read = (name) => style.getPropertyValue(`--wb-${name}`).trim();
  const colours = Object.fromEntries(["text", "muted", "track", "card", "accent", "alarm"].map((name) => [name, read(name)]));
  const unit = parseFloat(style.fontSize) / 13, family = style.fontFamily, pen = make("canvas").getContext("2d"), found = new Map();
  root.dataset.text = unit > 1.1 ? "large" : "usual";
  const wide = (text, weight = 400, size = 11) => { pen.font = `${weight} ${size * unit}px ${family}`; return pen.measureText(text).width; };
  const of = (name) => {
    if (!found.has(name)) {
      const [colour, marker] = given[name] ?? [theme === "dark" ? "#ffffff" : "#000000", "o"];
      found.set(name, { colour: theme === "dark" ? onGround(colour, colours.card) : colour, marker });
    }
    return found.get(name);
  };
  return { theme, colours, unit, family, wide, of };
}

// ---------------------------------------------------------------- a text to read, copy or change
function openPanel(root, layers, { title, text, editable = false }, guard, send) {
  const opener = document.activeElement, heading = make("h4", { id: newId("panel"), textContent: title });
  const area = make("textarea", { value: text, readOnly: !editable, spellcheck: false, "aria-label": title });
  const button = (name, act) => make("button", { type: "button", textContent: name, onclick: guard(act) });
  const close = () => { panel.remove(); layers.forEach((node) => (node.inert = false)); opener?.focus?.(); };
  const copy = button("Copy", async () => {
    area.select();
    if (navigator.clipboard) await navigator.clipboard.writeText(area.value);
    else document.execCommand("copy");
    write(copy, "Copied");
  });
  const apply = button("Apply", () => {
    let state;
    try { state = JSON.parse(area.value); } catch (error) { throw new Told(`This is not JSON: ${error.message}. Copy a whole state, from { to }.`); }
    send({ kind: "load_state", state });
    close();
  });
  const panel = make("div", { class: "wb-panel", role: "dialog", "aria-modal": "true", "aria-labelledby": heading.id, onkeydown: (event) => event.key === "Escape" && close() },
    make("header", {}, heading, ...(editable ? [apply] : []), copy, button("Close", close)), area);
  layers.forEach((node) => (node.inert = true)); // the focus stays inside
  root.append(panel);
  area.focus();
  area.setSelectionRange(0, 0);
}

// ---------------------------------------------------------------- one view of the model
// `build(act)` gives the nodes, `paint(view, look)` writes the traits into them. `sliding` names the choices whose every value may stand in the table of
// frames, where `stored(traits)` finds one.
export function explorer({ model, el }, { name, traits, sliding, stored, build }) {
  const state = { choices: model.get("choices"), shown: null, base: 0, dirty: false, sent: 0, waiting: false, timer: 0, tick: 0, painted: 0, asked: false, note: "", look: null, hidden: "", failure: "", undrawn: "", gone: false };
  const words = (error) => (error instanceof Told ? error.message : `The explorer failed: ${error?.message ?? error}`);
  const fail = (error) => { Object.assign(state, { failure: words(error), hidden: "" }); showError(); };
  const guard = (act) => (...args) => { try { const done = act(...args); return done?.catch ? done.catch(fail) : done; } catch (error) { return fail(error); } };

  function showError() {
    const text = (state.gone && GONE) || state.undrawn || state.failure || model.get("status")?.error || "";
    if (!text) state.hidden = "";
    error.hidden = !text || text === state.hidden;
    write(errorText, text);
  }

  // requests and answers: at most one request on its way; the newest choices win
  function flush() {
    if (state.waiting || !state.dirty) return;
    Object.assign(state, { dirty: false, waiting: true, sent: state.choices.request });
    model.save_changes();
    clearTimeout(state.timer);
    state.timer = setTimeout(guard(() => { send({ kind: "alive" }); answered(); }), WAIT_MS);
  }
  function send(content) { // a channel without a kernel refuses a message; it drops choices in silence
    try { model.send(content); state.gone = false; } catch { Object.assign(state, { gone: true, hidden: "" }); }
    showError();
  }
  function answered() { state.waiting = false; clearTimeout(state.timer); flush(); }
  function choose(change) {
    Object.assign(state, { dirty: true, note: "", failure: "" });
    model.set("choices", { ...state.choices, ...change, request: state.choices.request + ("theme" in change ? 0 : 1) }); // a theme needs no new frame
    flush();
  }
  function tip(text, event) {
    tipNode.hidden = text === "";
    write(tipNode, text);
    if (!text) return;
    const box = root.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    tipNode.style.left = tipNode.style.top = "0"; // its full width, to be measured
    const { offsetWidth: wide, offsetHeight: high } = tipNode;
    tipNode.style.left = `${x + 18 + wide > box.width ? x - 12 - wide : x + 14}px`;
    tipNode.style.top = `${Math.max(4, Math.min(box.height - high - 6, y - 30))}px`;
  }
  const act = {
    choices: () => state.choices,
    tip: guard(tip),
    choose: guard(choose),
    slide: guard((change) => { choose(change); if (performance.now() - state.painted > 12) draw(); }), // the hand sees its own move in the very next display frame
    send: guard((kind) => { state.asked = kind === "code" || kind === "state"; Object.assign(state, { note: "", failure: "" }); send({ kind }); }),
    theme: guard(() => { const order = ["auto", "light", "dark"]; choose({ theme: order[(order.indexOf(state.choices.theme) + 1) % 3] }); }),
  };

  // painting
  const now = () => ({ ...Object.fromEntries(traits.map((trait) => [trait, model.get(trait)])), choices: state.choices });
  function paint() {
    cancelAnimationFrame(state.tick);
    Object.assign(state, { tick: 0, painted: performance.now() });
    const said = now(), { request } = state.choices, kept = stored(said); // out of the table if it is there, else the newest that came
    if (kept && kept.request >= state.base) state.shown = { frame: kept, request };
    else if (!state.shown || said.frame.request >= state.shown.request) state.shown = { frame: said.frame, request: said.frame.request };
    state.look ??= readLook(root, state.choices.theme, said.menu.looks);
    if (!state.look.colours.text) { state.look = null; redraw(); return; } // the style sheet is still on its way
    const { shown } = state, waiting = shown.request < request;
    const told = view.paint({ ...said, frame: shown.frame, waiting, note: state.note }, state.look);
    Object.assign(root.dataset, { drawn: String(shown.request), waiting: String(waiting), busy: said.status.busy, ...told });
    if (state.undrawn) { state.undrawn = ""; showError(); }
  }
  const draw = () => { try { paint(); } catch (error) { state.undrawn = words(error); showError(); } }; // goes with the next good frame
  const redraw = () => { state.tick ||= requestAnimationFrame(draw); };
  const restyle = () => { state.look = null; redraw(); };

  // what the model says
  const answers = {
    choices() {
      const next = model.get("choices"), old = state.choices;
      if (next.request < old.request) { state.dirty = true; model.set("choices", old); flush(); return; } // an answer to older choices
      state.choices = next;
      const known = [...sliding, "theme", "request"];
      if (Object.keys(next).some((key) => !known.includes(key) && next[key] !== old[key])) state.base = next.request;
      if (next.theme !== old.theme) state.look = null;
    },
    frame() { if (model.get("frame").request >= state.sent) answered(); },
    menu() { state.look = null; }, // names may have come
    status() { showError(); },
  };
  const listeners = traits.map((trait) => [`change:${trait}`, guard(() => { answers[trait]?.(); redraw(); })]);
  listeners.push(["msg:custom", guard((message) => {
    if (message.kind === "note") { state.note = message.text; redraw(); }
    if (message.kind === "text" && state.asked) { state.asked = false; openPanel(root, view.nodes, message, guard, (content) => { state.failure = ""; send(content); }); }
  })]);

  // building
  const errorText = make("span"), tipNode = make("div", { class: "wb-tip", hidden: true }), view = build(act);
  const dismiss = () => { Object.assign(state, { hidden: errorText.textContent, failure: "" }); error.hidden = true; };
  const error = make("div", { class: "wb-error", role: "alert", hidden: true }, svg(ICONS.alarm, 15), errorText, make("button", { type: "button", textContent: "Dismiss", onclick: dismiss }));
  const root = make("div", { class: "wb-root", role: "group", "aria-label": name }, ...view.nodes, tipNode, error);
  el.append(root);
  const outside = new MutationObserver(restyle), media = window.matchMedia("(prefers-color-scheme: dark)"), sizes = new ResizeObserver(restyle);
  outside.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  media.addEventListener("change", restyle);
  window.addEventListener("resize", restyle);
  for (const canvas of root.querySelectorAll("canvas")) sizes.observe(canvas); // larger texts, or a hidden view that is shown
  const quiet = (event) => event.stopPropagation(), handled = ["keydown", "keyup", "mousedown", "pointerdown", "contextmenu"]; // JupyterLab takes arrow keys and drags for itself
  for (const kind of handled) el.addEventListener(kind, quiet);
  for (const [kind, answer] of listeners) model.on(kind, answer);
  draw();
  showError();

  return () => {
    for (const [kind, answer] of listeners) model.off(kind, answer);
    for (const kind of handled) el.removeEventListener(kind, quiet);
    for (const observer of [sizes, outside]) observer.disconnect();
    media.removeEventListener("change", restyle);
    window.removeEventListener("resize", restyle);
    cancelAnimationFrame(state.tick);
    clearTimeout(state.timer);
    root.remove();
  };
}

export function themeButton(act) {
  const node = make("button", { type: "button", class: "wb-theme", onclick: act.theme });
  return {
    node,
    update(theme) {
      const name = `Theme: ${theme}`;
      node.title = name;
      node.setAttribute("aria-label", name);
      renew(node, theme, () => [svg(ICONS[theme] ?? ICONS.auto, 16)]);
    },
  };
}
