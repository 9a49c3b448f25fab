// The front end of the playground: one plain ES module for JupyterLab, Voila and the static site.
// Data flows one way: an action writes `choices` (or sends a message), the model answers with traits, `paint` draws what the traits say.
// The style sheet decides how large a picture is, and nothing in it hangs on one font: texts are measured where they are drawn.

const WAIT_MS = 250; // how long one unanswered request holds back the next
const GONE = "The kernel was restarted or has ended, and it no longer knows this explorer. Run this cell again.";
const TRAITS = ["menu", "choices", "frame", "frames", "curve", "baseline", "status"];
const BUILTIN = ["random", "magnitude", "snip", "grasp", "synflow"]; // each has its colour and marker; other criteria take the next ones
const MARKS = [
  "M1 0A1 1 0 1 1 -1 0A1 1 0 1 1 1 0Z", "M-.88 -.88H.88V.88H-.88Z", "M0 -1.1L1.1 .85H-1.1Z", "M0 -1.2L1.2 0L0 1.2L-1.2 0Z",
  "M0 1.1L1.1 -.85H-1.1Z", "M-.4 -1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z", "M0 -1.1L1.05 -.34L.65 .9H-.65L-1.05 -.34Z",
  "M-.78 -1.1L0 -.32L.78 -1.1L1.1 -.78L.32 0L1.1 .78L.78 1.1L0 .32L-.78 1.1L-1.1 .78L-.32 0L-1.1 -.78Z",
];
const NOTCH = "M-.7 -1L.7 -1L0 .6Z";
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const FIELDS = [["data", "Data"], ["network", "Network"], ["weights", "Weights"], ["criterion", "Criterion"], ["allocation", "Allocation"], ["rounds", "Rounds"], ["compare", "Compare with"], ["layer", "Layer"]];
const ICONS = {
  alarm: "M8 1.2L15.4 14.4H.6ZM7.1 6V10H8.9V6ZM7.1 11.2V12.9H8.9V11.2Z",
  auto: "M8 1.5A6.5 6.5 0 1 0 8 14.5A6.5 6.5 0 1 0 8 1.5ZM8 3V13A5 5 0 0 1 8 3Z",
  light: "M8 4.6A3.4 3.4 0 1 0 8 11.4A3.4 3.4 0 1 0 8 4.6ZM7.2 .8H8.8V3H7.2ZM7.2 13H8.8V15.2H7.2ZM.8 7.2H3V8.8H.8ZM13 7.2H15.2V8.8H13ZM2.4 3.5L3.5 2.4L5 3.9L3.9 5ZM11 12.1L12.1 11L13.6 12.5L12.5 13.6ZM2.4 12.5L3.9 11L5 12.1L3.5 13.6ZM11 3.9L12.5 2.4L13.6 3.5L12.1 5Z",
  dark: "M6.2 1.6A6.6 6.6 0 1 0 14.4 9.8A5.4 5.4 0 0 1 6.2 1.6Z",
};

// ---------------------------------------------------------------- words and numbers
const comma = (n) => Math.round(n).toLocaleString("en-US");
const three = (n) => Number(n.toPrecision(3));
const times = (c) => `${c < 999.5 ? three(c) : comma(c)}x`;
const decimals = (sparsity) => (sparsity < 0.99 ? 1 : sparsity < 0.999 ? 2 : sparsity < 0.9999 ? 3 : 4);
const percent = (sparsity) => `${sparsity < 1 ? (100 * sparsity).toFixed(decimals(sparsity)) : 100} %`;
const headline = (compression, sparsity) => `${percent(sparsity)} removed, ${times(compression)}`;
const power = (k) => (k > -3 ? String(10 ** k) : `1e${k}`); // raised digits and the minus sign are not in every font
const short = (n) => (n >= 1e9 ? `${three(n / 1e9)} G` : n >= 1e6 ? `${three(n / 1e6)} M` : n >= 1e4 ? `${three(n / 1e3)} k` : comma(n));
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function niceStep(span, count) {
  const raw = span / count, base = 10 ** Math.floor(Math.log10(raw));
  return base * [1, 2, 5, 10].find((m) => m * base >= raw * 0.999);
}

function stopIndex(stops, compression) {
  const away = stops.map((stop) => Math.abs(Math.log(stop / compression)));
  return Math.max(0, away.indexOf(Math.min(...away)));
}

// ---------------------------------------------------------------- DOM
function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function svg(path, size, fill = "currentColor", box = "0 0 16 16") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const attributes = { viewBox: box, width: size, height: size, "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  shape.setAttribute("fill", fill);
  shape.setAttribute("fill-rule", "evenodd");
  node.append(shape);
  return node;
}

function mark(style) {
  const node = svg(MARKS[style.shape], 11, style.colour, "-1.3 -1.3 2.6 2.6");
  node.setAttribute("class", "wb-mark");
  return node;
}

class Told extends Error {} // of what the visitor did; any other error is a failure of the explorer
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
let serial = Math.floor(Math.random() * 1e9); // ids stay apart where every explorer loads a copy of this file

function field(key, label, choose) {
  const id = `wb-${key}-${(serial += 1)}`;
  const select = make("select", { id }), fixed = make("span", { class: "wb-fixed", hidden: true });
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

function buildSide(ui, act) {
  const button = (name, kind, props = {}) => (ui.buttons[kind] = make("button", { type: "button", textContent: name, onclick: () => act.send(kind), ...props }));
  ui.title = make("div", { class: "wb-title" });
  ui.theme = make("button", { type: "button", class: "wb-theme", onclick: act.theme });
  ui.progress = make("progress", { max: 1, value: 0, "aria-label": "Progress of the training" });
  ui.message = make("div", { class: "wb-message", role: "status" });
  const { data, network, weights, criterion, allocation, rounds, compare } = ui.fields;
  ui.run = make("div", { class: "wb-run" }, button("Train", "train", { className: "wb-train" }), button("Cancel", "cancel"));
  const texts = make("div", { class: "wb-row" }, button("Show code", "code"), button("State", "state"), ui.theme);
  const save = make("div", { class: "wb-row" }, button("Table", "save_table"), button("Figure", "save_figure"), button("Masks", "save_masks"));
  ui.save = make("div", { class: "wb-save", role: "group", "aria-label": "Save" }, make("div", { class: "wb-name", textContent: "Save" }), save);
  return make("div", { class: "wb-side" }, ui.title, data.node, network.node, make("div", { class: "wb-pair" }, weights.node, rounds.node),
    criterion.node, allocation.node, compare.node, ui.run, ui.progress, ui.message, texts, ui.save);
}

function buildMain(ui, act) {
  const id = `wb-range-${(serial += 1)}`;
  ui.sentence = make("div", { class: "wb-sentence", "aria-live": "polite" });
  ui.range = make("input", { type: "range", id, class: "wb-range", min: 0, step: 1, oninput: () => act.stop(Number(ui.range.value)), onkeydown: act.key });
  ui.ticks = make("div", { class: "wb-ticks", "aria-hidden": "true" });
  const slider = make("div", { class: "wb-slider" }, make("label", { class: "wb-hush", htmlFor: id, textContent: "Compression (log scale)" }), ui.range, ui.ticks);
  ui.alarm = make("div", { class: "wb-alarm", role: "status" });
  ui.numbers = make("div", { class: "wb-numbers" });
  ui.buttons.clear_points = make("button", { type: "button", class: "wb-quiet", textContent: "Clear", title: "Clear points", "aria-label": "Clear points", onclick: () => act.send("clear_points") });
  const card = (kind, title, ...extra) => {
    ui.canvas[kind] = make("canvas", { class: `wb-${kind}`, role: "img", onpointermove: (event) => act.point(kind, event), onpointerleave: () => (ui.tip.hidden = true) });
    ui.notes[kind] = make("div", { class: "wb-note" });
    return make("div", { class: "wb-card" }, make("header", {}, make("h4", { textContent: title }), ui.notes[kind], ...extra), ui.canvas[kind]);
  };
  const grid = make("div", { class: "wb-grid" }, card("scores", "Scores"), card("layers", "Layers"), card("mask", "Mask", ui.fields.layer.node), card("tradeoff", "Trade-off", ui.buttons.clear_points));
  return make("div", { class: "wb-main" }, ui.sentence, slider, ui.alarm, ui.numbers, grid);
}

// ---------------------------------------------------------------- the four pictures: each draws, and returns its words and what lies under a point
// A pen writes on a canvas. It knows the size of the picture in CSS pixels, `unit` (1 where texts have their usual size), and the boxes of the texts it wrote.
function penFor(canvas, { width, height }, { unit, family }) {
  const ctx = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1, size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const font = (weight = 400, size = 11) => { ctx.font = `${weight} ${size * unit}px ${family}`; };
  return { ctx, width, height, unit, font, texts: [], wide: (text, weight, size) => { font(weight, size); return ctx.measureText(text).width; } };
}

// Write one text: kept inside the picture, smaller if it needs more than `room`, and not at all where it is `spare` and would touch another one.
function label({ ctx, width, unit, font, wide, texts }, text, x, y, colour, { align = "left", weight = 400, size = 11, room = width, spare = false } = {}) {
  while (size * unit > 8 && wide(text, weight, size) > room) size -= 0.25;
  font(weight, size);
  const words = fitEnd(ctx, text, room), far = ctx.measureText(words);
  const left = Math.max(0, Math.min(width - far.width, x - far.width * { left: 0, center: 0.5, right: 1 }[align]));
  const box = { text: words, left, right: left + far.width, top: y - far.actualBoundingBoxAscent, bottom: y + far.actualBoundingBoxDescent };
  if (spare && texts.some((other) => box.left < other.right + 4 && other.left < box.right + 4 && box.top < other.bottom && other.top < box.bottom)) return;
  texts.push(box);
  ctx.fillStyle = colour;
  ctx.textAlign = "left";
  ctx.fillText(words, left, y);
}

function rule(ctx, x0, y0, x1, y1, colour, width = 1, dash = []) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
  ctx.setLineDash([]);
}

const PATHS = MARKS.map((path) => new Path2D(path));

function stamp(ctx, style, x, y, radius) {
  ctx.translate(x, y);
  ctx.scale(radius, radius);
  ctx.fillStyle = style.colour;
  ctx.fill(PATHS[style.shape]);
  ctx.scale(1 / radius, 1 / radius);
  ctx.translate(-x, -y);
}

function hatch(ctx, x0, y0, x1, y1) {
  ctx.lineWidth = 0.8;
  ctx.beginPath();
  for (let x = x0 - (y1 - y0); x < x1; x += 5) {
    ctx.moveTo(x, y1);
    ctx.lineTo(x + (y1 - y0), y0);
  }
  ctx.stroke();
}

function fitEnd(ctx, text, width) { // the end of a layer's name says more than its beginning
  if (ctx.measureText(text).width <= width) return text;
  let start = 1;
  while (start < text.length && ctx.measureText(`\u2026${text.slice(start)}`).width > width) start += 1;
  return `\u2026${text.slice(start)}`;
}

function histogram(pen, view, side, top, height, named, titled) {
  const { ctx, width, unit, wide } = pen, { colours } = view, { x: edges, counts, cut, zero } = side.scores, style = view.style(side.criterion);
  const titles = [...(named && zero ? [`${side.scores.label}; ${comma(zero)} are 0`] : []), side.scores.label], title = titles.find((words) => wide(words) < width - 14 * unit) ?? side.scores.label.split("(")[0];
  const span = edges.at(-1) - edges[0], low = span > 1.5 ? Math.floor(edges[0]) : edges[0], high = span > 1.5 ? Math.ceil(edges.at(-1)) : edges.at(-1);
  const most = Math.max(1, ...counts), step = niceStep(most, named ? 1.4 : 4), steps = Array.from({ length: Math.floor(most / step) }, (_, i) => (i + 1) * step);
  const left = Math.max(38 * unit, ...steps.map((v) => wide(short(v)) + 9)), right = width - 4, foot = top + height - (titled ? 18 * unit : 4 * unit), bottom = foot - 15 * unit, roof = top + 17 * unit;
  const X = (v) => left + ((v - low) / (high - low || 1)) * (right - left), Y = (v) => bottom - (v / most) * (bottom - roof);
  for (const v of steps) {
    rule(ctx, left, Y(v), right, Y(v), colours.track);
    label(pen, short(v), left - 5, Y(v) + 4 * unit, colours.muted, { align: "right", spare: true });
  }
  const tip = (n) => (n ? Math.min(bottom - 1.5, Y(n)) : bottom); // one weight can be seen
  const outline = new Path2D(`M${X(edges[0])} ${bottom}${counts.map((n, i) => `L${X(edges[i])} ${tip(n)}H${X(edges[i + 1])}`).join("")}V${bottom}Z`);
  const limit = cut === null ? left : Math.min(right, Math.max(left, X(cut)));
  const part = (x0, x1, paint) => {
    ctx.save();
    ctx.beginPath();
    ctx.rect(x0, top, x1 - x0, height);
    ctx.clip();
    paint();
    ctx.restore();
  };
  part(limit, right, () => { ctx.fillStyle = style.colour; ctx.fill(outline); });
  part(left, limit, () => {
    ctx.clip(outline);
    ctx.fillStyle = ctx.strokeStyle = style.colour;
    ctx.globalAlpha = 0.14;
    ctx.fillRect(left, top, width, height);
    ctx.globalAlpha = 0.75;
    hatch(ctx, left, roof, limit, bottom);
    ctx.lineWidth = 2;
    ctx.stroke(outline);
  });
  rule(ctx, left, bottom, right, bottom, colours.muted);
  const tick = span > 1.5 ? Math.max(1, niceStep(high - low, 7)) : niceStep(high - low, 4);
  for (let v = Math.ceil(low / tick - 1e-9) * tick; v <= high + 1e-9; v += tick) {
    const words = String(Number(v.toPrecision(4)) + 0).replace("-", "\u2013"); // the minus sign itself is not in every font
    label(pen, words, X(v), foot, colours.muted, { align: "center", spare: true });
    rule(ctx, X(v), bottom, X(v), bottom + 3, colours.muted);
  }
  const head = top + 12 * unit;
  if (named) {
    stamp(ctx, style, 6 * unit, top + 8 * unit, 4.5 * unit);
    label(pen, title, 14 * unit, head, colours.muted, { room: width - 14 * unit });
  } else if (titled) label(pen, title, (left + right) / 2, pen.height - 4 * unit, colours.muted, { align: "center", room: right - left });
  if (cut !== null) {
    const taken = named ? 14 * unit + wide(title) : 0;
    rule(ctx, limit, limit < taken ? roof : top + 3, limit, bottom, colours.text, 1.5);
    if (limit - 8 - wide("removed") > 0) label(pen, "removed", limit - 6, head, colours.muted, { align: "right", spare: true });
    if (limit + 8 + wide("kept", 600) < width) label(pen, "kept", limit + 6, head, colours.text, { weight: 600, spare: true });
  }
  return (x, y) => {
    const bin = edges.findIndex((edge, i) => i < counts.length && x >= X(edge) && x < X(edges[i + 1]));
    return y < top || y >= top + height || bin < 0 ? "" : `${comma(counts[bin])} weights, ${side.scores.label} from ${edges[bin].toFixed(2)} to ${edges[bin + 1].toFixed(2)}`;
  };
}

function drawScores(pen, view) {
  const tall = pen.height / view.sides.length, named = view.sides.length > 1, { zero, label: title } = view.sides[0].scores;
  const zeros = zero ? [`${comma(zero)} scores are 0`] : [], all = [...zeros, title].join("; ");
  const titled = !named && pen.wide(all) + pen.wide("Scores", 700, 13) + 12 > pen.width; // below the axis if there is no room in the heading
  const probes = view.sides.map((side, i) => histogram(pen, view, side, i * tall, tall - (named && i === 0 ? 4 : 0), named, titled));
  const words = view.sides.map(({ criterion, scores, numbers }) => `Histogram of the ${criterion} scores of ${comma(numbers.total)} weights; ${scores.cut === null ? "nothing is removed" : `the cut is at ${scores.label} = ${scores.cut.toFixed(2)}, what lies below is removed`}.`);
  return { words: words.join(" "), note: named ? "" : titled ? zeros.join() : all, probe: (x, y) => probes.map((probe) => probe(x, y)).find(Boolean) };
}

function cross(ctx, x, y, colour, size) {
  rule(ctx, x, y - size / 2, x + size, y + size / 2, colour, 1.8);
  rule(ctx, x, y + size / 2, x + size, y - size / 2, colour, 1.8);
}

function drawLayers(pen, view) {
  const { ctx, width, height, unit, font, wide } = pen, { sides, colours } = view, rows = sides[0].layers, one = sides.length === 1;
  const bottom = height - 19 * unit, pitch = bottom / rows.length, many = pitch < 11, size = Math.min(11, (0.92 * pitch) / unit); // many: no room for names
  const plain = rows.every(({ name }) => /[^\d.].*\.weight$/.test(name)), names = rows.map(({ name }) => (plain ? name.slice(0, -7) : name));
  font(700, size);
  const fitted = names.map((name) => fitEnd(ctx, name, 90 * unit)), gutter = many ? wide("100") + 7 : Math.max(...fitted.map((name) => ctx.measureText(name).width)) + 7;
  const left = gutter, right = width - wide("88.8 M") - 10, thick = Math.min(14, pitch * (many ? 0.82 : 0.66)) / sides.length;
  const floor = -Math.max(1, Math.ceil(Math.log10(Math.max(...rows.map(({ size }) => size)) - 1e-9)));
  const X = (density) => left + (1 - Math.log10(density) / floor) * (right - left);
  for (let k = 0; k >= floor; k -= 1) {
    rule(ctx, X(10 ** k), 0, X(10 ** k), bottom + 3, colours.track);
    if (k === 0 || k === floor || (k - floor) % Math.ceil(-floor / 4) === 0) label(pen, power(k), X(10 ** k), height - 4 * unit, colours.muted, { align: "center", spare: true });
  }
  let said = -99; // where the word "dead" was written last
  rows.forEach(({ kept }, i) => {
    const middle = (i + 0.5) * pitch, dead = sides.map((side) => side.layers[i].kept === 0);
    if (!many) label(pen, fitted[i], left - 7, middle + 3.5 * unit, dead.includes(true) ? colours.alarm : colours.text, { align: "right", weight: dead.includes(true) ? 700 : 400, size });
    else if (i === 0 || (i + 1) % 10 === 0) label(pen, String(i + 1), left - 7, Math.max(8 * unit, middle + 3.5 * unit), colours.muted, { align: "right" });
    sides.forEach((side, j) => {
      const y = middle + (j - sides.length / 2) * thick, { density } = side.layers[i];
      ctx.fillStyle = view.style(side.criterion).colour;
      if (!dead[j] && !(many && !one)) ctx.fillRect(left, y, Math.max(1.5, X(density) - left), thick - (one ? 0 : 0.75));
      else if (!dead[j]) rule(ctx, X(density), i * pitch, X(density), (i + 1) * pitch, ctx.fillStyle, 2.5); // bars of two would be too thin to tell apart
      else cross(ctx, left + 3, y + thick / 2, colours.alarm, Math.min(8, Math.max(3, thick)));
    });
    if (!dead.includes(true)) { if (one && !many) label(pen, short(kept), width - 2, middle + 3.5 * unit, colours.muted, { align: "right", size }); return; }
    const line = Math.max(9 * unit, middle + 3.5 * unit);
    if (line - said < (many ? 11 : size) * unit) return;
    label(pen, "dead", width - 2, (said = line), colours.alarm, { align: "right", weight: 700, size: many ? 11 : size });
    sides.filter((_, j) => !one && dead[j]).forEach((side, j) => stamp(ctx, view.style(side.criterion), width - wide("dead", 700) - 9 - 10 * j, middle, 3.5));
  });
  rule(ctx, left, 0, left, bottom, colours.muted);
  const gone = sides.map((side) => side.layers.filter(({ kept }) => kept === 0));
  const bad = gone.some((dead) => dead.length > 0), lost = `${gone.map((dead) => dead.length).join(" and ")} of ${rows.length} dead`;
  const words = sides.map((side, i) => `Density of ${rows.length} layers after ${side.criterion}: ${side.layers.map((row) => (row.kept ? `${row.name} ${row.density.toPrecision(2)}` : `${row.name} dead`)).join(", ")}. ${gone[i].length ? `${gone[i].length} of ${rows.length} layers dead.` : "No layer is dead."}`);
  return {
    words: words.join(" "), note: bad ? lost : one && !many ? "density, weights kept" : "density", bad,
    probe: (x, y) => {
      const i = Math.floor(y / pitch);
      return i >= rows.length ? "" : `${rows[i].name}\n${sides.map(({ criterion, layers }) => `${criterion}: ${comma(layers[i].kept)} of ${comma(layers[i].size)} kept${layers[i].kept ? "" : ", dead"}`).join("\n")}`;
    },
  };
}

const RAMP = Array.from({ length: 256 }, (_, v) => {
  const at = (v / 255) * (CIVIDIS.length - 1), k = Math.min(CIVIDIS.length - 2, Math.floor(at));
  return [1, 3, 5].map((c) => Math.round(parseInt(CIVIDIS[k].slice(c, c + 2), 16) * (1 - at + k) + parseInt(CIVIDIS[k + 1].slice(c, c + 2), 16) * (at - k)));
});
const PIXELS = new Uint32Array(new Uint8ClampedArray(RAMP.flatMap((rgb) => [...rgb, 255])).buffer);

function maskImage({ rows, cols, data }) {
  const sheet = make("canvas", { width: cols, height: rows }), image = new ImageData(cols, rows), pixels = new Uint32Array(image.data.buffer), bytes = atob(data);
  for (let i = 0; i < pixels.length; i += 1) pixels[i] = PIXELS[bytes.charCodeAt(i)];
  sheet.getContext("2d").putImageData(image, 0, 0);
  return sheet;
}

function drawMask(pen, view) {
  const { ctx, width, height, unit, wide } = pen, { sides, colours } = view, { note, rows, cols, layer } = sides[0].mask;
  const keys = [["kept", RAMP[255]], ["removed", RAMP[0]]], keyed = keys.map(([word]) => wide(word) + 22 * unit), free = width - keyed[0] - keyed[1], beside = 0.87 * wide(note) <= free;
  const gap = 12, w = (width - gap * (sides.length - 1)) / sides.length, head = sides.length > 1 ? 18 * unit : 6, h = height - (beside ? 22 : 38) * unit - head;
  const boxes = sides.map(({ criterion, mask }, i) => {
    const x = i * (w + gap), y = head, cw = w / mask.cols, ch = h / mask.rows;
    if (sides.length > 1) { stamp(ctx, view.style(criterion), x + 6 * unit, 7 * unit, 4.5 * unit); label(pen, criterion, x + 14 * unit, 11 * unit, colours.text, { weight: 600, room: w - 14 * unit }); }
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(maskImage(mask), x, y, w, h);
    const lines = Math.min(cw, ch) >= 6;
    for (let c = 1; lines && c < mask.cols; c += 1) rule(ctx, x + c * cw, y, x + c * cw, y + h, colours.card, 0.5);
    for (let r = 1; lines && r < mask.rows; r += 1) rule(ctx, x, y + r * ch, x + w, y + r * ch, colours.card, 0.5);
    return { x, y, w, h };
  });
  const y = height - 5 * unit;
  label(pen, note, 0, beside ? y : y - 15 * unit, colours.muted, { room: beside ? free : width });
  keys.reduce((right, [word, rgb], i) => {
    label(pen, word, right, y, colours.muted, { align: "right" });
    const box = 9 * unit, x = right - keyed[i] + 9 * unit;
    ctx.fillStyle = `rgb(${rgb})`;
    ctx.fillRect(x, y - box, box, box);
    ctx.lineWidth = 1;
    ctx.strokeStyle = colours.muted;
    ctx.strokeRect(x, y - box, box, box);
    return right - keyed[i];
  }, width);
  const rowOf = (side) => side.layers.find(({ name }) => name === layer) ?? { kept: 0, size: 0 };
  return {
    words: sides.map((side) => `Mask of ${layer} after ${side.criterion}: ${comma(rowOf(side).kept)} of ${comma(rowOf(side).size)} weights kept, ${rows} by ${cols} cells, ${note}.`).join(" "), note: "",
    probe: (px, py) => boxes.map((box, i) => {
      const { mask, criterion } = sides[i], c = Math.floor(((px - box.x) / box.w) * mask.cols), r = Math.floor(((py - box.y) / box.h) * mask.rows);
      if (c < 0 || r < 0 || c >= mask.cols || r >= mask.rows) return "";
      const kept = Math.round(atob(mask.data).charCodeAt(r * mask.cols + c) / 2.55);
      return `${sides.length > 1 ? `${criterion}: ` : ""}row ${r + 1}, column ${c + 1}: ${kept === 100 ? "kept" : kept === 0 ? "removed" : `${kept} % kept`}`;
    }).find(Boolean),
  };
}

function groups(points) {
  const found = new Map();
  for (const point of points) {
    const name = point.rounds > 1 ? `${point.criterion}-${point.rounds}` : point.criterion, key = `${name} ${point.kind}`;
    if (!found.has(key)) found.set(key, { name, criterion: point.criterion, kind: point.kind, rounds: point.rounds, points: [], means: new Map() });
    const group = found.get(key);
    group.points.push(point);
    if (!group.means.has(point.compression)) group.means.set(point.compression, []);
    group.means.get(point.compression).push(point.accuracy);
  }
  return [...found.values()].sort((a, b) => (a.kind === "live") - (b.kind === "live")); // recorded ones behind
}

function legend(pen, view, found) { // at most two rows; what does not fit is counted, never left out in silence. Returns the height of the rows
  const { ctx, width, unit, wide } = pen, pitch = 14 * unit;
  const names = [...new Map(found.map((group) => [group.name, group])).values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  let x = 0, row = 0;
  for (const [i, { name, criterion }] of names.entries()) {
    const far = wide(name) + 12 * unit, last = i === names.length - 1;
    if (x > 0 && row === 0 && x + far > width) { x = 0; row = 1; }
    if (row === 1 && x + far > width - (last ? 0 : 9 * unit + wide("+99", 600))) { label(pen, `+${names.length - i}`, x, 10.5 * unit + pitch, view.colours.muted, { weight: 600 }); break; }
    stamp(ctx, view.style(criterion), x + 4.5 * unit, 7 * unit + row * pitch, 4 * unit);
    label(pen, name, x + 12 * unit, 10.5 * unit + row * pitch, view.colours.text, { room: width - 12 * unit });
    x += far + 9 * unit;
  }
  return pitch * (names.length ? row + 1 : 0);
}

function drawTradeoff(pen, view) {
  const { ctx, width, height, unit, wide } = pen, { colours, choices, baseline, compression } = view, most = view.menu.stops.at(-1);
  const points = view.curve.filter((point) => point.data === choices.data && point.network === choices.network), found = groups(points);
  const left = wide("100 %") + 5, right = width - 8, top = legend(pen, view, found) + 7 * unit, bottom = height - 19 * unit;
  const X = (c) => left + (Math.log(c) / Math.log(most)) * (right - left), Y = (accuracy) => bottom - accuracy * (bottom - top);
  for (const accuracy of [0, 0.25, 0.5, 0.75, 1]) {
    rule(ctx, left, Y(accuracy), right, Y(accuracy), accuracy ? colours.track : colours.muted);
    label(pen, `${100 * accuracy}${accuracy === 1 ? " %" : ""}`, left - 5, Y(accuracy) + 4 * unit, colours.muted, { align: "right", spare: true });
  }
  for (let c = 1; c <= most; c *= 10) {
    rule(ctx, X(c), bottom, X(c), bottom + 3, colours.muted);
    label(pen, `${comma(c)}x`, X(c), height - 4 * unit, colours.muted, { align: "center", spare: true });
  }
  const dense = baseline.dense ?? null;
  if (dense !== null) rule(ctx, left, Y(dense), right, Y(dense), colours.text, 1, [5, 4]);
  rule(ctx, X(compression), top - 4, X(compression), bottom, colours.accent, 1.5);
  for (const group of found) {
    const style = view.style(group.criterion), line = [...group.means].map(([c, values]) => [c, mean(values)]).sort((a, b) => a[0] - b[0]);
    ctx.globalAlpha = group.kind === "live" ? 1 : 0.45;
    line.slice(1).forEach(([c, accuracy], i) => rule(ctx, X(line[i][0]), Y(line[i][1]), X(c), Y(accuracy), style.colour, 1.5, group.rounds > 1 ? [] : [4, 2]));
    for (const point of group.points) {
      if (group.kind === "live") stamp(ctx, { ...style, colour: colours.card }, X(point.compression), Y(point.accuracy), 5.6);
      stamp(ctx, style, X(point.compression), Y(point.accuracy), group.kind === "live" ? 4.2 : 2.6);
    }
  }
  ctx.globalAlpha = 1;
  if (!points.length) {
    const words = view.live ? "Press Train to add a point" : "No point recorded", half = wide(words, 500, 13) / 2 + 6, x = (left + right) / 2, y = (top + bottom) / 2;
    ctx.fillStyle = colours.card;
    ctx.fillRect(x - half, y - 13 * unit, 2 * half, 26 * unit);
    label(pen, words, x, y + 4.5 * unit, colours.muted, { align: "center", weight: 500, size: 13 });
  }
  const seeds = (n) => `${n} point${n === 1 ? "" : "s"}`;
  return {
    words: `Accuracy against compression, now at ${times(compression)}. ${dense === null ? "" : `Dense accuracy ${(100 * dense).toFixed(1)} %. `}${found.map((g) => `${g.name}, ${g.kind}: ${[...g.means].sort((a, b) => a[0] - b[0]).map(([c, v]) => `${(100 * mean(v)).toFixed(1)} % at ${times(c)} (${seeds(v.length)})`).join(", ")}`).join("; ") || "No point yet"}.`,
    note: dense === null ? "accuracy" : `\u2013 \u2013 dense ${(100 * dense).toFixed(1)} %`,
    probe: (x, y) => {
      const near = points.map((p) => ({ p, far: Math.hypot(X(p.compression) - x, Y(p.accuracy) - y) })).sort((a, b) => a.far - b.far)[0];
      return near && near.far < 8 ? `${near.p.criterion}, ${times(near.p.compression)}: ${(100 * near.p.accuracy).toFixed(1)} %\n${near.p.kind}, seed ${near.p.seed}, ${near.p.rounds} round${near.p.rounds === 1 ? "" : "s"}` : "";
    },
  };
}

const PICTURES = { scores: drawScores, layers: drawLayers, mask: drawMask, tradeoff: drawTradeoff };

// ---------------------------------------------------------------- writing the traits into the page
function paintControls(ui, view) {
  const { menu, choices, status, live } = view, layers = live ? menu.layers : [choices.layer];
  const options = {
    data: menu.data, network: menu.networks[choices.data] ?? [choices.network], weights: menu.weights, criterion: menu.criteria, allocation: menu.allocations, rounds: menu.rounds,
    compare: [null, ...menu.criteria.filter((name) => name !== choices.criterion)], layer: layers,
  };
  for (const [key] of FIELDS) ui.fields[key].update(options[key], choices[key] ?? null, !live);
  const training = status.busy === "training";
  write(ui.title, menu.title || "Pruning playground");
  for (const node of [ui.run, ui.progress, ui.save, ui.buttons.code, ui.buttons.state, ui.buttons.clear_points]) node.hidden = !live;
  ui.buttons.clear_points.disabled = !view.curve.some(({ kind }) => kind === "live");
  ui.buttons.train.disabled = training;
  ui.buttons.cancel.disabled = !training;
  ui.progress.value = training ? status.progress : 0;
  const doing = status.busy && `${status.busy[0].toUpperCase()}${status.busy.slice(1)}: ${Math.round(100 * status.progress)} %`;
  write(ui.message, view.note || status.message || doing || (live ? "" : "This page has no kernel: the slider moves through stored pictures. Run the notebook to train and to change the choices."));
  ui.message.title = ui.message.textContent; // long names of files
  ui.root.dataset.busy = status.busy;
  const name = `Theme: ${choices.theme}`;
  if (ui.theme.title !== name) {
    ui.theme.title = name;
    ui.theme.setAttribute("aria-label", name);
    ui.theme.replaceChildren(svg(ICONS[choices.theme] ?? ICONS.auto, 16));
  }
}

function paintSlider(ui, view) {
  const { stops } = view.menu, last = stops.length - 1, place = (c) => `${(100 * Math.log(c)) / Math.log(stops[last])}%`;
  ui.range.max = last;
  ui.range.value = view.stop;
  const words = `${times(view.compression)}, ${percent(view.sparsity)} removed`, share = view.stop / Math.max(1, last);
  ui.range.setAttribute("aria-valuetext", words);
  ui.range.style.setProperty("--wb-fill", `calc(12px + (100% - 24px) * ${share.toFixed(4)})`);
  const critical = view.sides.map(({ criterion, numbers }) => ({ criterion, at: numbers.critical })).filter(({ at }) => at > 1 && at <= stops[last]);
  const key = JSON.stringify([stops[last], critical, view.theme, view.unit, view.range]);
  if (ui.ticks.dataset.key !== key) {
    ui.ticks.dataset.key = key;
    const far = (c) => (Math.log(c) / Math.log(stops[last])) * (view.range - 24), end = `max ${times(stops[last])}`;
    let free = -Infinity; // powers of ten that have room, from left to right
    const powers = Array.from({ length: Math.floor(Math.log10(stops[last]) + 1e-9) + 1 }, (_, k) => 10 ** k).filter((c) => {
      const half = view.wide(`${comma(c)}x`, 400, 11.5) / 2, fits = far(c) - half > free && far(c) + half < view.range - 20 - view.wide(end, 400, 11.5);
      if (fits) free = far(c) + half + 8;
      return fits;
    });
    const ticks = [...powers.map((c) => [c, `${comma(c)}x`, ""]), [stops[last], end, "wb-end"]].map(([c, text, name]) => Object.assign(make("span", { class: name, textContent: text }), { at: c }));
    const notches = critical.map(({ criterion, at }) => Object.assign(make("span", { class: "wb-critical" }, svg(NOTCH, 12, view.style(criterion).colour, "-1 -1 2 2")), { at }));
    for (const node of [...ticks, ...notches]) node.style.left = place(node.at);
    ui.ticks.replaceChildren(...ticks, ...notches);
  }
}

function paintSentence(ui, view) {
  ui.sentence.classList.toggle("wb-two", view.sides.length > 1);
  if (ui.sentence.children.length !== view.sides.length) {
    ui.sentence.replaceChildren(...view.sides.map(() => make("div", { class: "wb-side-line" }, make("span", { class: "wb-who" }), make("span", { class: "wb-head" }), make("span", { class: "wb-hush" }), make("span", { class: "wb-rest" }))));
  }
  view.sides.forEach((side, i) => {
    const [who, head, joint, rest] = ui.sentence.children[i].children, [first, ...others] = side.sentence.split(";");
    const two = view.sides.length > 1, key = two ? `${side.criterion} ${view.theme}` : "";
    if ((who.dataset.key ?? "") !== key) {
      who.dataset.key = key;
      who.title = two ? side.criterion : "";
      who.replaceChildren(...(two ? [mark(view.style(side.criterion)), side.criterion, make("span", { class: "wb-hush", textContent: ": " })] : []));
    }
    write(head, view.waiting ? headline(view.compression, view.sparsity) : first);
    write(joint, "; ");
    write(rest, others.join(";").trim());
    rest.title = rest.textContent;
  });
}

function paintAlarm(ui, view) {
  const two = view.sides.length > 1, texts = view.sides.filter(({ alarm }) => alarm).map(({ alarm, criterion }) => (two ? `${criterion}: ${alarm}` : alarm));
  const key = JSON.stringify([texts, view.unit, view.range]);
  if (ui.alarm.dataset.key === key) return;
  ui.alarm.dataset.key = key;
  ui.alarm.title = texts.join("\n");
  const fit = !two || texts.every((text) => view.wide(text, 600, 11.5) < view.range - 44);
  const brief = (text) => { // of two alarms each has one line: that, or its first clause
    if (fit) return text;
    const [name, clause] = text.split(/[:,]/);
    return `${name.length > 20 ? `${name.slice(0, 19)}\u2026` : name}: ${clause.trim()}`;
  };
  ui.alarm.replaceChildren(...texts.map((text) => make("div", {}, svg(ICONS.alarm, 15), make("span", { textContent: brief(text) }))));
}

function paintNumbers(ui, view) {
  const { total, macs_dense: macsDense, max_compression: max } = view.sides[0].numbers;
  const cells = [
    [`kept of ${total < 1e6 ? comma(total) : short(total)}`, `Weights kept of all ${comma(total)} prunable weights`, ({ kept }) => comma(kept)],
    ["size ratio", "All parameters before / nonzero parameters after, biases and norms counted", (n) => times(n.size_ratio)],
    ["effective sparsity", "Also counts kept weights on no path from input to output, where paths can be seen", (n) => (n.effective === null ? "\u2013" : percent(n.effective))],
    [macsDense === null ? "MACs" : `MACs of ${short(macsDense)}`, "Multiply-adds of one example, kept weights only", ({ macs }) => (macs === null ? "\u2013" : short(macs))],
    ["critical", "Critical compression: the highest this criterion reaches with every layer alive", ({ critical }) => (critical === null ? "\u2013" : times(critical))],
    ["maximum", "Max compression: one weight a layer, the limit of the network", () => times(max)],
  ];
  ui.numbers.classList.toggle("wb-pairs", view.sides.length > 1);
  const key = JSON.stringify([cells.map(([name, , value]) => [name, view.sides.map((side) => value(side.numbers))]), view.sides.map(({ criterion }) => criterion), view.theme]);
  if (ui.numbers.dataset.key === key) return;
  ui.numbers.dataset.key = key;
  ui.numbers.replaceChildren(...cells.map(([name, title, value]) => make("div", { class: "wb-number", title }, make("div", { class: "wb-what" }, name, ...(name === "critical" ? [" ", svg(NOTCH, 9, "currentColor", "-1 -1 2 2")] : [])),
    ...view.sides.map((side) => make("div", { class: "wb-value" }, ...(view.sides.length > 1 ? [mark(view.style(side.criterion))] : []), value(side.numbers))))));
}

function paintPictures(ui, view) {
  for (const [kind, draw] of Object.entries(PICTURES)) {
    const canvas = ui.canvas[kind], pen = penFor(canvas, view.picture, view), { words, note, bad = false, probe } = draw(pen, view);
    canvas.texts = pen.texts;
    ui.probes[kind] = probe;
    canvas.setAttribute("aria-label", words);
    write(ui.notes[kind], note);
    ui.notes[kind].title = note;
    ui.notes[kind].classList.toggle("wb-bad", bad);
  }
}

function openPanel(ui, { title, text, editable = false }, guard, send) {
  const opener = document.activeElement, heading = make("h4", { id: `wb-panel-${(serial += 1)}`, textContent: title });
  const area = make("textarea", { value: text, readOnly: !editable, spellcheck: false, "aria-label": title });
  const button = (name, act) => make("button", { type: "button", textContent: name, onclick: guard(act) });
  const close = () => { panel.remove(); ui.layers.forEach((node) => (node.inert = false)); opener?.focus?.(); };
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
  ui.layers.forEach((node) => (node.inert = true)); // the focus stays inside
  ui.root.append(panel);
  area.focus();
  area.setSelectionRange(0, 0);
}

function readLook(ui, choice) { // what the style sheet decides: colours, font, the sizes of the pictures and the slider
  const { root } = ui;
  const lab = document.body.dataset.jpThemeLight, dark = lab === undefined ? window.matchMedia("(prefers-color-scheme: dark)").matches : lab === "false";
  const theme = choice === "auto" ? (dark ? "dark" : "light") : choice;
  root.dataset.theme = theme;
  const style = getComputedStyle(root), read = (name) => style.getPropertyValue(`--wb-${name}`).trim();
  const colours = Object.fromEntries(["text", "muted", "track", "card", "accent", "alarm"].map((name) => [name, read(name)]));
  const unit = parseFloat(style.fontSize) / 13, { clientWidth: width, clientHeight: height } = ui.canvas.scores;
  root.dataset.text = unit > 1.1 ? "large" : "usual";
  const font = { unit, family: style.fontFamily }, { wide } = penFor(make("canvas"), { width: 1, height: 1 }, font);
  return { theme, colours, series: MARKS.map((_, i) => read(`c${i}`)), ...font, wide, picture: { width, height }, range: ui.range.clientWidth };
}

// ---------------------------------------------------------------- one view of the model
function render({ model, el }) {
  const ui = { buttons: {}, canvas: {}, notes: {}, probes: {}, fields: {} };
  const state = { choices: model.get("choices"), shown: null, base: 0, dirty: false, sent: 0, waiting: false, timer: 0, tick: 0, painted: 0, asked: false, note: "", look: null, hidden: "", failure: "", undrawn: "", gone: false };

  const words = (error) => (error instanceof Told ? error.message : `The explorer failed: ${error?.message ?? error}`);
  const fail = (error) => { Object.assign(state, { failure: words(error), hidden: "" }); showError(); };
  const guard = (act) => (...args) => { try { const done = act(...args); return done?.catch ? done.catch(fail) : done; } catch (error) { return fail(error); } };

  function showError() {
    const text = (state.gone && GONE) || state.undrawn || state.failure || model.get("status")?.error || "";
    if (!text) state.hidden = "";
    ui.error.hidden = !text || text === state.hidden;
    write(ui.errorText, text);
  }

  // actions ------------------------------------------------------
  function flush() { // at most one request on its way; the newest choices win
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
  const act = {
    stop: guard((index) => {
      const { stops } = model.get("menu");
      const stop = Math.min(stops.length - 1, Math.max(0, index));
      if (stop === stopIndex(stops, state.choices.compression)) return;
      choose({ compression: stops[stop] });
      if (performance.now() - state.painted > 12) draw(); // the hand sees its own move in the very next display frame
    }),
    key: guard((event) => {
      const now = stopIndex(model.get("menu").stops, state.choices.compression), to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageUp: now + 10, PageDown: now - 10, Home: 0, End: Infinity }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act.stop(to);
    }),
    theme: guard(() => { const order = ["auto", "light", "dark"]; choose({ theme: order[(order.indexOf(state.choices.theme) + 1) % 3] }); }),
    send: guard((kind) => { state.asked = kind === "code" || kind === "state"; Object.assign(state, { note: "", failure: "" }); send({ kind }); }),
    point: guard((kind, event) => {
      const text = ui.probes[kind]?.(event.offsetX, event.offsetY) || "", box = ui.root.getBoundingClientRect();
      ui.tip.hidden = text === "";
      write(ui.tip, text);
      const x = event.clientX - box.left, y = event.clientY - box.top;
      ui.tip.style.left = ui.tip.style.top = "0"; // its full width, to be measured
      const { offsetWidth: wide, offsetHeight: high } = ui.tip;
      ui.tip.style.left = `${x + 18 + wide > box.width ? x - 12 - wide : x + 14}px`;
      ui.tip.style.top = `${Math.max(4, Math.min(box.height - high - 6, y - 30))}px`;
    }),
  };

  // painting -----------------------------------------------------
  function shapeOf(criterion, further = 0) {
    const known = BUILTIN.indexOf(criterion), extra = model.get("menu").criteria.filter((name) => !BUILTIN.includes(name)).indexOf(criterion);
    return known >= 0 ? known : BUILTIN.length + ((Math.max(0, extra) + further) % (MARKS.length - BUILTIN.length));
  }
  function style(criterion) { // two criteria that are compared never look alike
    const { criterion: first, compare } = state.choices;
    const shape = shapeOf(criterion, criterion === compare && shapeOf(compare) === shapeOf(first) ? 1 : 0);
    return { shape, colour: state.look.series[shape] };
  }
  function take() { // the frame to show: out of the table if it is there, else the newest one that came
    const { request, compression } = state.choices, stored = model.get("frames")?.[stopIndex(model.get("menu").stops, compression)], frame = model.get("frame");
    if (stored && stored.request >= state.base) state.shown = { frame: stored, request };
    else if (!state.shown || frame.request >= state.shown.request) state.shown = { frame, request: frame.request };
  }
  function paint() {
    cancelAnimationFrame(state.tick);
    Object.assign(state, { tick: 0, painted: performance.now() });
    take();
    state.look ??= readLook(ui, state.choices.theme);
    if (!state.look.colours.text) { state.look = null; redraw(); return; } // the style sheet is still on its way
    const menu = model.get("menu"), { choices, look } = state, { frame, request } = state.shown, waiting = request < choices.request;
    const stop = stopIndex(menu.stops, choices.compression), compression = menu.stops[stop];
    const view = { menu, choices, status: model.get("status"), curve: model.get("curve"), baseline: model.get("baseline"), note: state.note, live: menu.faces === "live", sides: frame.sides, ...look, style, stop, compression,
      sparsity: waiting ? 1 - 1 / compression : frame.sparsity, waiting };
    for (const part of [paintControls, paintSlider, paintSentence, paintAlarm, paintNumbers, paintPictures]) part(ui, view);
    Object.assign(ui.root.dataset, { drawn: String(request), stop: String(stop), waiting: String(waiting) });
    if (state.undrawn) { state.undrawn = ""; showError(); }
  }
  const draw = () => { try { paint(); } catch (error) { state.undrawn = words(error); showError(); } }; // goes with the next good frame
  const redraw = () => { state.tick ||= requestAnimationFrame(draw); };
  const restyle = () => { state.look = null; redraw(); };

  // what the model says ------------------------------------------
  const answers = {
    choices() {
      const next = model.get("choices"), old = state.choices;
      if (next.request < old.request) { state.dirty = true; model.set("choices", old); flush(); return; } // an answer to older choices
      state.choices = next;
      const known = new Set(["compression", "theme", "request"]);
      if (Object.keys(next).some((key) => !known.has(key) && next[key] !== old[key])) state.base = next.request;
      if (next.theme !== old.theme) state.look = null;
    },
    frame() { if (model.get("frame").request >= state.sent) answered(); },
    status() { showError(); },
  };
  const listeners = TRAITS.map((name) => [`change:${name}`, guard(() => { answers[name]?.(); redraw(); })]);
  listeners.push(["msg:custom", guard((message) => {
    if (message.kind === "note") { state.note = message.text; redraw(); }
    if (message.kind === "text" && state.asked) { state.asked = false; openPanel(ui, message, guard, (content) => { state.failure = ""; send(content); }); }
  })]);

  // building -----------------------------------------------------
  for (const [key, name] of FIELDS) {
    ui.fields[key] = field(key, name, guard((value) => choose(key === "criterion" && value === state.choices.compare ? { criterion: value, compare: null } : { [key]: value })));
  }
  ui.errorText = make("span");
  ui.error = make("div", { class: "wb-error", role: "alert", hidden: true }, svg(ICONS.alarm, 15), ui.errorText,
    make("button", { type: "button", textContent: "Dismiss", onclick: () => { Object.assign(state, { hidden: ui.errorText.textContent, failure: "" }); ui.error.hidden = true; } }));
  ui.tip = make("div", { class: "wb-tip", hidden: true });
  ui.layers = [buildSide(ui, act), buildMain(ui, act)];
  ui.root = make("div", { class: "wb-root", role: "group", "aria-label": "Pruning playground" }, ...ui.layers, ui.tip, ui.error);
  el.append(ui.root);
  const outside = new MutationObserver(restyle), media = window.matchMedia("(prefers-color-scheme: dark)");
  outside.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  media.addEventListener("change", restyle);
  window.addEventListener("resize", restyle);
  const sizes = new ResizeObserver(restyle); // larger texts, or a hidden view that is shown
  sizes.observe(ui.canvas.scores);
  const quiet = (event) => event.stopPropagation(); // JupyterLab takes arrow keys and drags for itself
  for (const name of ["keydown", "keyup", "mousedown", "pointerdown", "contextmenu"]) el.addEventListener(name, quiet);
  for (const [name, answer] of listeners) model.on(name, answer);
  draw();
  showError();

  return () => {
    for (const [name, answer] of listeners) model.off(name, answer);
    for (const name of ["keydown", "keyup", "mousedown", "pointerdown", "contextmenu"]) el.removeEventListener(name, quiet);
    window.removeEventListener("resize", restyle);
    sizes.disconnect();
    media.removeEventListener("change", restyle);
    outside.disconnect();
    cancelAnimationFrame(state.tick);
    clearTimeout(state.timer);
    ui.root.remove();
  };
}

export default { render };
