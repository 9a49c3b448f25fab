// One view of the model: its look, errors and panels (`shell`); with requests and answers (`explorer`). Data flows one way: an action writes `choices` (or
// sends a message), the model answers with traits, `paint` draws what the traits say. The style sheet decides how large a picture is, and nothing in it hangs on one font: texts are
// measured where they are drawn.
import { ICONS, Told, make, newId, quiet, svg, write } from "./kit.js";

const WAIT_MS = 250; // how long one unanswered request holds back the next
const GONE = "The kernel was restarted or has ended, and it no longer knows this explorer. Run the notebook again from the top.";

// ---------------------------------------------------------------- looks: the style sheet's colours and font, and the colour and marker that Python gave a name
function readLook(root, choice, given) {
  const lab = document.body.dataset.jpThemeLight, night = lab === undefined ? window.matchMedia("(prefers-color-scheme: dark)").matches : lab === "false";
  const theme = choice === "auto" ? (night ? "dark" : "light") : choice;
  root.dataset.theme = theme;
  const style = getComputedStyle(root.firstElementChild), usual = getComputedStyle(root), read = (name) => style.getPropertyValue(`--wb-${name}`).trim();
  const colours = Object.fromEntries(["text", "muted", "track", "card", "accent", "alarm"].map((name) => [name, read(name)]));
  const unit = parseFloat(style.fontSize) / 13, family = style.fontFamily, pen = make("canvas").getContext("2d");
  root.dataset.text = parseFloat(usual.fontSize) > 14.3 ? "large" : "usual"; // the reader's size, without what a wide container adds
  const wide = (text, weight = 400, size = 11) => { pen.font = `${weight} ${size * unit}px ${family}`; return pen.measureText(text).width; };
  const of = (name, second = false) => { // the second of two settings of one name is paler
    const { light = colours.text, dark = second ? colours.muted : colours.text, paler = colours.muted, marker = "o" } = given[name] ?? {};
    return { colour: (second ? { light: dark, dark: paler } : { light, dark })[theme], marker };
  };
  return { theme, colours, unit, family, wide, of };
}

// ---------------------------------------------------------------- a text to read, copy or change
function openPanel(root, layers, { title, text, editable = false }, guard, send) { // returns what closes it
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
  });
  const panel = make("div", { class: "wb-panel", role: "dialog", "aria-modal": "true", "aria-labelledby": heading.id, onkeydown: (event) => event.key === "Escape" && close() },
    make("header", {}, heading, ...(editable ? [apply] : []), copy, button("Close", close)), area);
  layers.forEach((node) => (node.inert = true)); // the focus stays inside
  root.append(panel);
  area.focus();
  area.setSelectionRange(0, 0);
  return close;
}

// ---------------------------------------------------------------- what every view has: look, errors, panels, and an end
// `paint(look, note, doing)` writes what the traits say; `theme` and `looks` are asked for when a look is read. What is `on` a message of the model is painted after.
export function shell({ model, el }, { name, kind = "", theme, looks, paint, on }) {
  const state = { look: null, tick: 0, painted: 0, asked: false, note: "", hidden: "", failure: "", undrawn: "", gone: false, layers: [], watch() {}, close() {}, busy: "", began: 0, second: 0 };
  const words = (error) => (error instanceof Told ? error.message : `The explorer failed: ${error?.message ?? error}`);
  const fail = (error) => { Object.assign(state, { failure: words(error), hidden: "" }); showError(); };
  const guard = (act) => (...args) => { try { const done = act(...args); return done?.catch ? done.catch(fail) : done; } catch (error) { return fail(error); } };

  function showError() {
    const text = (state.gone && GONE) || state.undrawn || state.failure || model.get("status")?.error || "";
    if (!text) state.hidden = "";
    error.hidden = !text || text === state.hidden;
    write(errorText, text);
  }
  function send(content) { // a channel without a kernel refuses a message; it drops choices in silence
    try { model.send(content); state.gone = false; } catch { Object.assign(state, { gone: true, hidden: "" }); }
    showError();
  }
  const ask = guard((kind) => { state.asked = kind === "code" || kind === "state"; clear(); send({ kind }); });
  const clear = () => Object.assign(state, { note: "", failure: "" });
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

  function doing() { // what goes on, and how much of it is done; where nobody knows that, for how many seconds
    const { busy, progress } = model.get("status"), now = performance.now();
    if (busy !== state.busy) Object.assign(state, { busy, began: now });
    clearTimeout(state.second);
    if (!busy) return "";
    if (!progress) state.second = setTimeout(redraw, 1000);
    const seconds = Math.round((now - state.began) / 1000), far = progress ? `${Math.round(100 * progress)} %` : `${seconds} s`;
    return `${busy[0].toUpperCase()}${busy.slice(1)}${progress || seconds > 1 ? `: ${far}` : "\u2026"}`;
  }

  function repaint() {
    cancelAnimationFrame(state.tick);
    Object.assign(state, { tick: 0, painted: performance.now() });
    state.look ??= readLook(root, theme(), looks());
    if (!state.look.colours.text) { state.look = null; redraw(); return; } // the style sheet is still on its way
    Object.assign(root.dataset, { busy: model.get("status").busy, ...paint(state.look, state.note, doing()) });
    if (state.undrawn) { state.undrawn = ""; showError(); }
    if (!root.clientWidth) state.watch(); // hidden, as JupyterLab is while it changes its theme
  }
  const draw = () => { try { repaint(); } catch (error) { state.undrawn = words(error); showError(); } }; // goes with the next good frame
  const redraw = () => { state.tick ||= requestAnimationFrame(draw); };
  const restyle = () => { state.look = null; redraw(); };

  const listeners = Object.entries({ ...on, "change:status": () => { on["change:status"]?.(); showError(); } }).map(([kind, answer]) => [kind, guard(() => { answer(); redraw(); })]);
  listeners.push(["msg:custom", guard((message) => {
    if (message.kind === "note") { state.note = message.text; redraw(); }
    if (message.kind === "loaded") state.close(); // a state that was refused stays, to be mended
    if (message.kind === "text" && state.asked) { state.asked = false; state.close = openPanel(root, state.layers, message, guard, (content) => { state.failure = ""; send(content); }); }
  })]);

  const errorText = make("span"), tipNode = make("div", { class: "wb-tip", hidden: true });
  const dismiss = () => { Object.assign(state, { hidden: errorText.textContent, failure: "" }); error.hidden = true; };
  const error = make("div", { class: "wb-error", role: "alert", hidden: true }, svg(ICONS.alarm, 15), errorText, make("button", { type: "button", textContent: "Dismiss", onclick: dismiss }));
  const root = make("div", { class: `wb-root ${kind && `wb-${kind}`}`, role: "group", "aria-label": name });

  function start(nodes) {
    state.layers = nodes;
    root.append(...nodes, tipNode, error);
    el.append(root);
    const outside = new MutationObserver(restyle), media = window.matchMedia("(prefers-color-scheme: dark)"), sizes = new ResizeObserver(restyle);
    outside.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    const ending = new AbortController(), { signal } = ending;
    media.addEventListener("change", restyle, { signal });
    window.addEventListener("resize", restyle, { signal });
    const dense = () => window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener("change", () => { restyle(); dense(); }, { once: true, signal });
    dense(); // on a screen with other pixels
    state.watch = () => { // another container, larger texts, or a hidden view that is shown: what is watched anew is reported when it has a size
      sizes.disconnect();
      for (const canvas of root.querySelectorAll("canvas")) sizes.observe(canvas);
    };
    state.watch();
    quiet(el, signal);
    for (const [kind, answer] of listeners) model.on(kind, answer);
    draw();
    showError();
    return () => {
      for (const [kind, answer] of listeners) model.off(kind, answer);
      for (const observer of [sizes, outside]) observer.disconnect();
      ending.abort();
      cancelAnimationFrame(state.tick);
      clearTimeout(state.second);
      root.remove();
    };
  }
  return { root, guard, tip: guard(tip), send, ask, clear, draw, redraw, start, restyle, since: () => performance.now() - state.painted };
}

// ---------------------------------------------------------------- a view that asks and is answered
// `build(act)` gives the nodes, `paint(view, look)` writes the traits into them. `sliding` names the choices whose every value may stand in the table of
// frames, where `stored(traits)` finds one.
export function explorer({ model, el }, { name, kind, traits, sliding, stored, build }) {
  const state = { choices: model.get("choices"), shown: null, base: 0, dirty: false, sent: 0, waiting: false, timer: 0 };
  const now = () => ({ ...Object.fromEntries(traits.map((trait) => [trait, model.get(trait)])), choices: state.choices });

  function paint(look, note, doing) {
    const said = now(), { request } = state.choices, kept = stored(said); // out of the table if it is there, else the newest that came
    if (kept && kept.request >= state.base) state.shown = { frame: kept, request };
    else if (!state.shown || said.frame.request >= state.shown.request) state.shown = { frame: said.frame, request: said.frame.request };
    const { shown } = state, waiting = shown.request < request;
    return { drawn: String(shown.request), waiting: String(waiting), ...view.paint({ ...said, frame: shown.frame, waiting, note, doing }, look) };
  }

  // requests and answers: at most one request on its way; the newest choices win
  function flush() {
    if (state.waiting || !state.dirty) return;
    Object.assign(state, { dirty: false, waiting: true, sent: state.choices.request });
    model.save_changes();
    clearTimeout(state.timer);
    state.timer = setTimeout(guard(() => { send({ kind: "alive" }); answered(); }), WAIT_MS);
  }
  function answered() { state.waiting = false; clearTimeout(state.timer); flush(); }
  function choose(change) {
    state.dirty = true;
    clear();
    model.set("choices", { ...state.choices, ...change, request: state.choices.request + ("theme" in change ? 0 : 1) }); // a theme needs no new frame
    flush();
  }

  const answers = {
    choices() {
      const next = model.get("choices"), old = state.choices;
      if (next.request < old.request) { state.dirty = true; model.set("choices", old); flush(); return; } // an answer to older choices
      state.choices = next;
      const known = [...sliding, "theme", "request"];
      if (Object.keys(next).some((key) => !known.includes(key) && JSON.stringify(next[key]) !== JSON.stringify(old[key]))) state.base = next.request;
      if (next.theme !== old.theme) restyle();
    },
    frame() { if (model.get("frame").request >= state.sent) answered(); },
    menu() { restyle(); }, // names may have come
  };
  const on = Object.fromEntries(traits.map((trait) => [`change:${trait}`, () => answers[trait]?.()]));
  const { guard, tip, send, ask, clear, draw, start, restyle, since } = shell({ model, el }, { name, kind, theme: () => state.choices.theme, looks: () => model.get("menu").looks, paint, on });
  const act = {
    choices: () => state.choices,
    tip,
    choose: guard(choose),
    slide: guard((change) => { choose(change); if (since() > 12) draw(); }), // the hand sees its own move in the very next display frame
    send: ask,
    theme: guard(() => { const order = ["auto", "light", "dark"]; choose({ theme: order[(order.indexOf(state.choices.theme) + 1) % 3] }); }),
  };
  const view = build(act), end = start(view.nodes);
  return () => { clearTimeout(state.timer); end(); };
}
