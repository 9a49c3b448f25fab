// What the page of an explorer is made of: words and numbers, nodes, controls. A control has a `node` and says how it is updated.

const NOTCH = "M-.7 -1L.7 -1L0 .6Z";
export const ICONS = {
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
export const newId = (kind) => `wb-${kind}-${(serial += 1)}`;

export function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  if (/^(button|input|select|textarea)$/.test(tag)) ownKeys(node);
  return node;
}

// Notebook 7 takes keys before they reach a node, unless the node itself says no; JupyterLab takes what bubbles up to it (`quiet`).
export const ownKeys = (node) => node.setAttribute("data-lm-suppress-shortcuts", "true");

function shape(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
export const svg = (path, size, fill = "currentColor", box = "0 0 16 16") =>
  shape("svg", { viewBox: box, width: size, height: size, "aria-hidden": "true" }, shape("path", { d: path, fill, "fill-rule": "evenodd" }));

export const notch = (size, fill) => svg(NOTCH, size, fill, "-1 -1 2 2");
export const alarm = (...words) => make("div", {}, svg(ICONS.alarm, 15), make("span", {}, ...words));

export function renew(node, key, build) { // new children where what they show has changed
  const words = JSON.stringify(key);
  if (node.dataset.key === words) return;
  node.dataset.key = words;
  node.replaceChildren(...build());
}

export function quiet(el, signal) { // arrow keys and drags are the explorer's
  for (const kind of ["keydown", "keyup", "mousedown", "pointerdown", "contextmenu"]) el.addEventListener(kind, (event) => event.stopPropagation(), { signal });
}

// ---------------------------------------------------------------- controls
export function field(key, label, choose) {
  const id = newId(key), select = make("select", { id }), fixed = make("span", { class: "wb-fixed", hidden: true });
  const name = make("label", { htmlFor: id, textContent: label }), plain = make("span", { class: "wb-name", textContent: label, hidden: true });
  let options = [], shown = "";
  select.addEventListener("change", () => choose(options[select.selectedIndex]));
  return {
    node: make("div", { class: `wb-field wb-field-${key}` }, name, plain, select, fixed),
    update(next, value, frozen) {
      const words = next.map(String);
      if (shown !== words.join("\n")) {
        select.replaceChildren(...words.map((word) => make("option", { value: word, textContent: word })));
        shown = words.join("\n");
      }
      options = next;
      select.selectedIndex = next.indexOf(value);
      write(fixed, String(value));
      select.title = fixed.title = fixed.textContent;
      for (const node of [select, name]) node.hidden = frozen;
      for (const node of [fixed, plain]) node.hidden = !frozen;
    },
  };
}

// A whole number from 0 to a last one; where it is the usual one, or nothing is written, `null` is chosen.
export function countField(key, label, choose) {
  const id = newId(key), name = make("label", { htmlFor: id }), fixed = make("span", { class: "wb-fixed" });
  let shown = null, given = {};
  const onchange = () => {
    const to = Math.min(given.most, Math.max(0, Math.round(input.value)));
    shown = null;
    choose(input.value === "" || to === given.usual ? null : to);
  };
  const input = make("input", { type: "number", id, class: "wb-count", min: 0, step: 1, onchange });
  return {
    node: make("div", { class: `wb-field wb-field-${key}` }, name, input, fixed),
    update(chosen, bounds, words, frozen) {
      given = bounds;
      const value = chosen ?? given.usual;
      input.max = given.most;
      if (shown !== value) input.value = shown = value; // what is being written stays
      write(name, label);
      write(fixed, String(value));
      input.title = fixed.title = words;
      input.hidden = frozen;
      fixed.hidden = !frozen;
    },
  };
}

// A native range over places: `go(place)` after each move by hand or key.
function range(id, place, go) {
  const onkeydown = (event) => {
    const now = place(), to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageUp: now + 10, PageDown: now - 10, Home: 0, End: Infinity }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  const node = make("input", { type: "range", id, class: "wb-range", min: 0, step: 1, oninput: () => go(Number(node.value)), onkeydown });
  return node;
}

function setRange(node, last, stop, words) {
  node.max = last;
  node.value = stop;
  node.setAttribute("aria-valuetext", words);
  node.style.setProperty("--wb-fill", `calc(12px + (100% - 24px) * ${(stop / Math.max(1, last)).toFixed(4)})`);
}

// A slider with its name and what it says beside it; `words` says each stop.
export function wordSlider(move) {
  let last = 0, now = 0;
  const id = newId("range"), go = (to) => { const stop = Math.min(last, Math.max(0, to)); if (stop !== now) move((now = stop)); };
  const name = make("label", { htmlFor: id }), said = make("output", { htmlFor: id }), input = range(id, () => now, go);
  return {
    node: make("div", { class: "wb-words" }, name, input, said),
    update(label, words, stop, disabled = false) {
      [last, now] = [words.length - 1, stop];
      write(name, label);
      write(said, words[stop]);
      said.style.minWidth = `${Math.max(...words.map((word) => word.length))}ch`;
      input.disabled = disabled;
      setRange(input, last, stop, words[stop]);
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
  const input = range(id, () => now, go);
  const ticks = make("div", { class: "wb-ticks", "aria-hidden": "true" });
  const tick = (at, last, name, ...children) => make("span", { class: name, style: `left: ${(100 * Math.log(at)) / Math.log(last)}%` }, ...children);
  return {
    node: make("div", { class: "wb-slider" }, make("label", { class: "wb-hush", htmlFor: id, textContent: label }), input, ticks),
    width: 0,
    update(next, stop, words, notches, look, of, why) { // `of` what it is, if not weights; `why` it cannot be moved
      [stops, now] = [next, stop];
      if (measured !== look) [measured, this.width] = [look, input.clientWidth];
      const last = stops.length - 1, most = stops[last], { width } = this;
      setRange(input, last, stop, why ? `${words}; ${why}` : words);
      input.disabled = Boolean(why);
      renew(ticks, [most, notches, look.unit, width, of, why], () => {
        if (why) return [make("span", { class: "wb-why", textContent: why })];
        const end = `max ${times(most)}${of}`, room = width - 20 - look.wide(end, 400, 11.5), powers = [];
        let free = -Infinity;
        for (let c = 1; c <= most * (1 + 1e-9); c *= 10) {
          const half = look.wide(`${comma(c)}x`, 400, 11.5) / 2, middle = (Math.log(c) / Math.log(most)) * (width - 24);
          if (middle - half > free && middle + half < room) { free = middle + half + 8; powers.push(c); }
        }
        return [...powers.map((c) => tick(c, most, "", `${comma(c)}x`)), tick(most, most, "wb-end", end),
          ...notches.map(({ at, colour }) => tick(at, most, "wb-notch", notch(12, colour)))];
      });
    },
  };
}

// A slider over the steps of a training, with what it says below it.
export function stepSlider(label, move) {
  let stops = [0], now = 0;
  const id = newId("range"), said = make("span"), go = (to) => {
    const stop = Math.min(stops.length - 1, Math.max(0, to));
    if (stop !== now) move(stops[(now = stop)]);
  };
  const input = range(id, () => now, go);
  return {
    node: make("div", { class: "wb-slider wb-step" }, make("label", { class: "wb-hush", htmlFor: id, textContent: label }), input, make("div", { class: "wb-ticks", "aria-hidden": "true" }, said)),
    update(next, stop, words, disabled) {
      [stops, now] = [next, stop];
      input.disabled = disabled;
      setRange(input, next.length - 1, stop, words);
      write(said, words);
    },
  };
}

export function themeButton(act) {
  const node = make("button", { type: "button", class: "wb-theme", onclick: act.theme });
  const update = (theme) => {
    node.title = node.ariaLabel = `Theme: ${theme}`;
    renew(node, theme, () => [svg(ICONS[theme] ?? ICONS.auto, 16)]);
  };
  return { node, update };
}
