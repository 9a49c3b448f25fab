// A card with one picture, the pen that draws it, and the markers: what charts are drawn with.
import { make, svg, write } from "./kit.js";

// Matplotlib's markers as paths of about the same size around 0.
const MARKERS = {
  o: "M1 0A1 1 0 1 1 -1 0A1 1 0 1 1 1 0Z", s: "M-.88 -.88H.88V.88H-.88Z", "^": "M0 -1.1L1.1 .85H-1.1Z", v: "M0 1.1L1.1 -.85H-1.1Z",
  "<": "M-1.1 0L.85 1.1V-1.1Z", ">": "M1.1 0L-.85 1.1V-1.1Z", D: "M0 -1.2L1.2 0L0 1.2L-1.2 0Z", d: "M0 -1.2L.75 0L0 1.2L-.75 0Z",
  p: "M0 -1.1L1.05 -.34L.65 .9H-.65L-1.05 -.34Z", h: "M0 -1.1L.95 -.55V.55L0 1.1L-.95 .55V-.55Z",
  P: "M-.4 -1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  X: "M-.78 -1.1L0 -.32L.78 -1.1L1.1 -.78L.32 0L1.1 .78L.78 1.1L0 .32L-.78 1.1L-1.1 .78L-.32 0L-1.1 -.78Z",
  "*": "M0 -1.2L.3 -.4H1.15L.47 .12L.72 .98L0 .48L-.72 .98L-.47 .12L-1.15 -.4H-.3Z",
};
const PATHS = new Map(Object.entries(MARKERS).map(([marker, path]) => [marker, new Path2D(path)]));

export function picture(kind, title, tip, ...extra) {
  let probe = null, size = {}, measured = null;
  const onpointermove = (event) => tip(probe?.(event.offsetX, event.offsetY) || "", event), onpointerleave = () => tip("");
  const canvas = make("canvas", { class: `wb-${kind}`, role: "img", onpointermove, onpointerleave }), heading = make("div", { class: "wb-note" }), name = make("h4", { textContent: title });
  return {
    node: make("div", { class: `wb-card wb-${kind}` }, make("header", {}, name, heading, ...extra), canvas),
    update(chart, data, look) {
      if (measured !== look) [measured, size] = [look, { width: canvas.clientWidth, height: canvas.clientHeight }];
      const pen = penFor(canvas, size, look), { words, note, bad = false, ...drawn } = chart(pen, data, look);
      probe = drawn.probe;
      write(name, data.title ?? title);
      canvas.texts = pen.texts;
      canvas.setAttribute("aria-label", words);
      write(heading, note);
      heading.title = note;
      heading.classList.toggle("wb-bad", bad);
    },
  };
}

export function mark({ colour, marker }) {
  const node = svg(MARKERS[marker] ?? MARKERS.o, 11, colour, "-1.3 -1.3 2.6 2.6");
  node.setAttribute("class", "wb-mark");
  return node;
}

// A pen writes on a canvas. It knows the size of the picture in CSS pixels, `unit` (1 where texts have their usual size), and the boxes of the texts it wrote.
function penFor(canvas, { width, height }, { unit, family, wide }) {
  const ctx = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1, size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const font = (weight = 400, pixels = 11) => { ctx.font = `${weight} ${pixels * unit}px ${family}`; };
  return { ctx, width, height, unit, font, wide, texts: [] };
}

// Write one text: kept inside the picture, smaller if it needs more than `room`, and not at all where it is `spare` and would touch another one.
export function label({ ctx, width, unit, font, wide, texts }, text, x, y, colour, { align = "left", weight = 400, size = 11, room = width, spare = false } = {}) {
  while (size * unit > 8 && wide(text, weight, size) > room) size -= 0.25;
  font(weight, size);
  const words = fit(ctx, text, room), far = ctx.measureText(words);
  const left = Math.max(0, Math.min(width - far.width, x - far.width * { left: 0, center: 0.5, right: 1 }[align]));
  const box = { text: words, left, right: left + far.width, top: y - far.actualBoundingBoxAscent, bottom: y + far.actualBoundingBoxDescent };
  if (spare && texts.some((other) => box.left < other.right + 4 && other.left < box.right + 4 && box.top < other.bottom && other.top < box.bottom)) return;
  texts.push(box);
  ctx.fillStyle = colour;
  ctx.textAlign = "left";
  ctx.fillText(words, left, y);
}

export function fit(ctx, text, width, end = false) { // as much of a text as has room; of a layer's name the `end`, which says more than the beginning
  const part = (n) => (n === text.length ? text : end ? `\u2026${text.slice(-n)}` : `${text.slice(0, n)}\u2026`);
  let n = text.length;
  while (n > 1 && ctx.measureText(part(n)).width > width) n -= 1;
  return part(n);
}

export function rule(ctx, x0, y0, x1, y1, colour, width = 1, dash = []) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
  ctx.setLineDash([]);
}

export function stamp(ctx, { marker, colour }, x, y, radius) {
  ctx.translate(x, y);
  ctx.scale(radius, radius);
  ctx.fillStyle = colour;
  ctx.fill(PATHS.get(marker) ?? PATHS.get("o"));
  ctx.scale(1 / radius, 1 / radius);
  ctx.translate(-x, -y);
}

export function cross(ctx, x, y, colour, size) {
  rule(ctx, x, y - size / 2, x + size, y + size / 2, colour, 1.8);
  rule(ctx, x, y + size / 2, x + size, y - size / 2, colour, 1.8);
}

export function hatch({ ctx, unit }, x0, y0, x1, y1) {
  ctx.lineWidth = 0.8 * unit;
  ctx.beginPath();
  for (let x = x0 - (y1 - y0); x < x1; x += 5 * unit) { ctx.moveTo(x, y1); ctx.lineTo(x + (y1 - y0), y0); }
  ctx.stroke();
}

// A line across with its value to the left of it, and a line down with its value below: of the values, those that have room.
export function across(pen, look, left, right, y, text, colour = look.colours.track) {
  rule(pen.ctx, left, y, right, y, colour);
  label(pen, text, left - 5, y + 4 * pen.unit, look.colours.muted, { align: "right", spare: true });
}

export function down(pen, look, x, top, bottom, foot, text, colour = look.colours.muted) {
  rule(pen.ctx, x, top, x, bottom, colour);
  if (text) label(pen, text, x, foot, look.colours.muted, { align: "center", spare: true });
}
