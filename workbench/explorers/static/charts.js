// Charts on a canvas: histogram, bars, raster, dots and lines. Each is `(pen, data, look) -> { words, note, bad, probe }`: words for a reader of the
// page, what stands in the heading (`bad`: as an alarm), and `probe(x, y)`, the text for what lies under a point. Every series has a name and a
// style: its colour and marker.
import { comma, make, percent, short, three, times } from "./kit.js";
import { across, cross, down, fit, hatch, label, rule, stamp } from "./pen.js";

const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const power = (k) => (k > -3 ? String(10 ** k) : `1e${k}`); // raised digits and the minus sign are not in every font

function niceStep(span, count) {
  const raw = span / count, base = 10 ** Math.floor(Math.log10(raw));
  return base * [1, 2, 5, 10].find((m) => m * base >= raw * 0.999);
}

// ---------------------------------------------------------------- counts over an axis, with a cut below which all is removed
// data: { series: [{ name, style, x: edges, counts, cut, zero, before: how many an earlier round removed, label, of: what is counted, in words }] }
export function histogram(pen, { series }, look) {
  const tall = pen.height / series.length, named = series.length > 1, [{ zero, before, label: title }] = series, zeros = zero ? `${comma(zero)} scores are 0` : "";
  const heads = [...gone(before).map((words) => joined(words, zeros, title)), ...gone(before)], room = pen.width - pen.wide("Scores", 700, 13) - 12;
  const note = named ? "" : heads.find((words) => pen.wide(words) <= room) ?? "", belows = [joined(before && zeros, title), joined(before && zero && `${short(zero)} scores are 0`, title), title];
  const below = named || note.endsWith(title) ? "" : belows.find((words) => pen.wide(words) < pen.width) ?? title; // under the axis if the heading has no room
  const probes = series.map((one, i) => oneHistogram(pen, one, look, i * tall, tall - (named && i === 0 ? 4 : 0), named, below));
  const words = series.map(({ of, cut, label, before }) => `Histogram of ${of}; ${cut === null ? "nothing is removed" : `the cut is at ${label} = ${cut.toFixed(2)}, what lies below is removed`}.${before ? ` Not in it: ${gone(before)[0]}.` : ""}`);
  return { words: words.join(" "), note: note === "" && !before ? zeros : note, probe: (x, y) => probes.map((probe) => probe(x, y)).find(Boolean) };
}

const joined = (...words) => words.filter(Boolean).join("; ");
const gone = (before) => (before ? [`${comma(before)} removed before the last round`, `${short(before)} removed before the last round`, `${short(before)} removed before`] : [""]);

function oneHistogram(pen, { style, x: edges, counts, cut, zero, before, label: axis }, look, top, height, named, below) {
  const { ctx, width, unit, wide } = pen, { colours } = look;
  const tails = [zero ? `${comma(zero)} are 0` : "", ""].flatMap((zeros) => gone(before).map((words) => joined(words, zeros))), [brief] = axis.split("(");
  const title = [axis, brief].flatMap((start) => tails.map((tail) => joined(start, tail))).find((words) => wide(words) < width - 14 * unit) ?? brief;
  const span = edges.at(-1) - edges[0], low = span > 1.5 ? Math.floor(edges[0]) : edges[0], high = span > 1.5 ? Math.ceil(edges.at(-1)) : edges.at(-1);
  const most = Math.max(1, ...counts), step = niceStep(most, named ? 1.4 : 4), steps = Array.from({ length: Math.floor(most / step) }, (_, i) => (i + 1) * step);
  const left = Math.max(38 * unit, ...steps.map((v) => wide(short(v)) + 9)), right = width - 4, foot = top + height - (below ? 18 * unit : 4 * unit), bottom = foot - 15 * unit, roof = top + (named ? 22 : 17) * unit; // a caption needs a line of its own
  const X = (v) => left + ((v - low) / (high - low || 1)) * (right - left), Y = (v) => bottom - (v / most) * (bottom - roof);
  for (const v of steps) across(pen, look, left, right, Y(v), short(v));
  const tip = (n) => (n ? Math.min(bottom - 1.5, Y(n)) : bottom); // one weight can be seen
  const outline = new Path2D(`M${X(edges[0])} ${bottom}${counts.map((n, i) => `L${X(edges[i])} ${tip(n)}H${X(edges[i + 1])}`).join("")}V${bottom}Z`);
  const limit = cut === null ? left : Math.min(right, Math.max(left, X(cut)));
  ctx.save();
  ctx.clip(outline);
  ctx.fillStyle = ctx.strokeStyle = style.colour;
  ctx.fillRect(limit, top, right - limit, height);
  ctx.beginPath();
  ctx.rect(left, top, limit - left, height);
  ctx.clip();
  ctx.globalAlpha = 0.14;
  ctx.fillRect(left, top, width, height);
  ctx.globalAlpha = 0.75;
  hatch(pen, left, roof, limit, bottom);
  ctx.lineWidth = 2 * unit;
  ctx.stroke(outline);
  ctx.restore();
  rule(ctx, left, bottom, right, bottom, colours.muted);
  const tick = span > 1.5 ? Math.max(1, niceStep(high - low, 7)) : niceStep(high - low, 4);
  for (let v = Math.ceil(low / tick - 1e-9) * tick; v <= high + 1e-9; v += tick) {
    down(pen, look, X(v), bottom, bottom + 3, foot, String(Number(v.toPrecision(4)) + 0).replace("-", "\u2013")); // the minus sign itself is not in every font
  }
  const head = top + 12 * unit;
  if (named) {
    stamp(ctx, style, 6 * unit, top + 8 * unit, 4.5 * unit);
    label(pen, title, 14 * unit, head, colours.muted, { room: width - 14 * unit });
  } else if (below) label(pen, below, (left + right) / 2, pen.height - 4 * unit, colours.muted, { align: "center", room: right - left });
  if (cut !== null) {
    const taken = named ? 14 * unit + wide(title) : 0;
    rule(ctx, limit, limit < taken ? roof : top + 3, limit, bottom, colours.text, 1.5 * unit);
    if (limit - 8 - wide("removed") > 0) label(pen, "removed", limit - 6, head, colours.muted, { align: "right", spare: true });
    if (limit + 8 + wide("kept", 600) < width) label(pen, "kept", limit + 6, head, colours.text, { weight: 600, spare: true });
  }
  return (x, y) => {
    const bin = edges.findIndex((edge, i) => i < counts.length && x >= X(edge) && x < X(edges[i + 1]));
    return y < top || y >= top + height || bin < 0 ? "" : `${comma(counts[bin])} weights, ${axis} from ${edges[bin].toFixed(2)} to ${edges[bin + 1].toFixed(2)}`;
  };
}

// ---------------------------------------------------------------- one bar a layer, the share that is kept on a log axis
// data: { series: [{ name, style, layers: [{ name, size, kept, density }] }] }, the same layers in every series
export function bars(pen, { series }, look) {
  const { ctx, width, height, unit, font, wide } = pen, { colours } = look, rows = series[0].layers, one = series.length === 1;
  const bottom = height - 19 * unit, pitch = bottom / rows.length, many = pitch < 11, size = Math.min(11, (0.92 * pitch) / unit); // many: no room for names
  const plain = rows.every(({ name }) => /[^\d.].*\.weight$/.test(name)), names = rows.map(({ name }) => (plain ? name.slice(0, -7) : name));
  font(700, size);
  const fitted = names.map((name) => fit(ctx, name, 90 * unit, true)), left = (many ? wide("100") : Math.max(...fitted.map((name) => wide(name, 700, size)))) + 7;
  const right = width - wide("88.8 M") - 10, thick = Math.min(14 * unit, pitch * (many ? 0.82 : 0.66)) / series.length;
  const floor = -Math.max(1, Math.ceil(Math.log10(Math.max(...rows.map((row) => row.size)) - 1e-9)));
  const X = (density) => left + (1 - Math.log10(density) / floor) * (right - left);
  for (let k = 0; k >= floor; k -= 1) {
    const named = k === 0 || k === floor || (k - floor) % Math.ceil(-floor / 4) === 0;
    down(pen, look, X(10 ** k), 0, bottom + 3, height - 4 * unit, named ? power(k) : "", colours.track);
  }
  let said = -99; // where the word "dead" was written last
  rows.forEach(({ kept }, i) => {
    const middle = (i + 0.5) * pitch, dead = series.map(({ layers }) => layers[i].kept === 0), lost = dead.includes(true);
    if (!many) label(pen, fitted[i], left - 7, middle + 3.5 * unit, lost ? colours.alarm : colours.text, { align: "right", weight: lost ? 700 : 400, size });
    else if (i === 0 || (i + 1) % 10 === 0) label(pen, String(i + 1), left - 7, Math.max(8 * unit, middle + 3.5 * unit), colours.muted, { align: "right" });
    series.forEach(({ style: { colour }, layers }, j) => {
      const y = middle + (j - series.length / 2) * thick, { density } = layers[i];
      ctx.fillStyle = colour;
      if (dead[j]) cross(ctx, left + 3, y + thick / 2, colours.alarm, Math.min(8 * unit, Math.max(3, thick)));
      else if (many && !one) rule(ctx, X(density), i * pitch, X(density), (i + 1) * pitch, colour, 2.5 * unit); // bars of two would be too thin to tell apart
      else ctx.fillRect(left, y, Math.max(1.5, X(density) - left), thick - (one ? 0 : 0.75));
    });
    if (!lost && one && !many) label(pen, short(kept), width - 2, middle + 3.5 * unit, colours.muted, { align: "right", size });
    const line = Math.max(9 * unit, middle + 3.5 * unit), again = many && i > 0 && series.some(({ layers }) => layers[i - 1].kept === 0);
    if (!lost || again || line - said < (many ? 11 : size) * unit) return; // of many layers each run of dead ones is named once
    label(pen, "dead", width - 2, (said = line), colours.alarm, { align: "right", weight: 700, size: many ? 11 : size });
    series.filter((_, j) => !one && dead[j]).forEach(({ style }, j) => stamp(ctx, style, width - wide("dead", 700) - (9 + 10 * j) * unit, middle, 3.5 * unit));
  });
  rule(ctx, left, 0, left, bottom, colours.muted);
  const gone = series.map(({ layers }) => layers.filter(({ kept }) => kept === 0).length), bad = gone.some((count) => count > 0);
  const entry = (row) => (row.kept ? `${row.name} ${row.density.toPrecision(2)}` : `${row.name} dead`);
  const words = series.map(({ name, layers }, i) => `Density of ${rows.length} layers after ${name}: ${layers.map(entry).join(", ")}. ${gone[i] ? `${gone[i]} of ${rows.length} layers dead.` : "No layer is dead."}`);
  return {
    words: words.join(" "), note: bad ? `${gone.join(" and ")} of ${rows.length} dead` : one && !many ? "density, weights kept" : "density", bad,
    probe: (x, y) => {
      const i = Math.floor(y / pitch), of = ({ name, layers }) => `${name}: ${comma(layers[i].kept)} of ${comma(layers[i].size)} kept${layers[i].kept ? "" : ", dead"}`;
      return i >= rows.length ? "" : `${rows[i].name}\n${series.map(of).join("\n")}`;
    },
  };
}

// ---------------------------------------------------------------- a mask as an image, bright = kept
// data: { note, series: [{ name, style, rows, cols, data: bytes in base64, unit: what a cell is, every: [rows, columns] of a group, words, step: { before: the mask that a change is marked against, or null } }] }
const RAMP = Array.from({ length: 256 }, (_, v) => {
  const at = (v / 255) * (CIVIDIS.length - 1), k = Math.min(CIVIDIS.length - 2, Math.floor(at));
  return [1, 3, 5].map((c) => Math.round(parseInt(CIVIDIS[k].slice(c, c + 2), 16) * (1 - at + k) + parseInt(CIVIDIS[k + 1].slice(c, c + 2), 16) * (at - k)));
});
const BORN = [86, 180, 233], DIED = [213, 94, 0], PIXELS = new Uint32Array(new Uint8ClampedArray([...RAMP, BORN, DIED].flatMap((rgb) => [...rgb, 255])).buffer);

function image({ rows, cols, data, step }) {
  const sheet = make("canvas", { width: cols, height: rows }), drawn = new ImageData(cols, rows), pixels = new Uint32Array(drawn.data.buffer), cells = atob(data);
  const old = step?.before?.rows === rows && step.before.cols === cols ? atob(step.before.data) : cells; // masks of two grains cannot be compared
  for (let i = 0; i < pixels.length; i += 1) {
    const change = cells.charCodeAt(i) - old.charCodeAt(i);
    pixels[i] = PIXELS[change ? (change > 0 ? 256 : 257) : cells.charCodeAt(i)];
  }
  sheet.getContext("2d").putImageData(drawn, 0, 0);
  return sheet;
}

export function raster(pen, { note, series }, look) {
  const { ctx, width, height, unit, wide } = pen, { colours } = look, many = series.length > 1;
  const keys = [["kept", RAMP[255]], ["removed", RAMP[0]], ...(series.some(({ step }) => step) ? [["born", BORN], ["died", DIED]] : [])];
  const keyed = keys.map(([word]) => wide(word) + 22 * unit), free = width - keyed.reduce((a, b) => a + b), beside = 0.87 * wide(note) <= free;
  const gap = 12, w = (width - gap * (series.length - 1)) / series.length, top = many ? 18 * unit : 6, h = height - (beside ? 22 : 38) * unit - top;
  series.forEach(({ name, style, rows, cols, data, step, every: [high, wide] = [1, 1] }, i) => {
    const x = i * (w + gap), cw = w / cols, ch = h / rows, lines = (at, group) => (group > 1 && at % group === 0 ? ["#ffffff", 2] : Math.min(cw, ch) >= 6 ? [colours.card, 0.5] : null); // white between groups
    if (many) {
      stamp(ctx, style, x + 6 * unit, 7 * unit, 4.5 * unit);
      label(pen, name, x + 14 * unit, 11 * unit, colours.text, { weight: 600, room: w - 14 * unit });
    }
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(image({ rows, cols, data, step }), x, top, w, h);
    for (let c = 1; c < cols; c += 1) if (lines(c, wide)) rule(ctx, x + c * cw, top, x + c * cw, top + h, ...lines(c, wide));
    for (let r = 1; r < rows; r += 1) if (lines(r, high)) rule(ctx, x, top + r * ch, x + w, top + r * ch, ...lines(r, high));
  });
  const foot = height - 5 * unit, box = 9 * unit;
  label(pen, note, 0, beside ? foot : foot - 15 * unit, colours.muted, { room: beside ? free : width });
  keys.reduce((right, [word, rgb], i) => {
    label(pen, word, right, foot, colours.muted, { align: "right" });
    const place = [right - keyed[i] + 9 * unit, foot - box, box, box];
    ctx.fillStyle = `rgb(${rgb})`;
    ctx.fillRect(...place);
    ctx.lineWidth = 1;
    ctx.strokeStyle = colours.muted;
    ctx.strokeRect(...place);
    return right - keyed[i];
  }, width);
  return {
    words: series.map(({ words }) => words).join(" "), note: "",
    probe: (px, py) => series.map(({ name, rows, cols, data, unit: one = "" }, i) => {
      const c = Math.floor(((px - i * (w + gap)) / w) * cols), r = Math.floor(((py - top) / h) * rows);
      if (c < 0 || r < 0 || c >= cols || r >= rows) return "";
      const kept = Math.round(atob(data).charCodeAt(r * cols + c) / 2.55);
      return `${many ? `${name}: ` : ""}row ${r + 1}, column ${c + 1}: ${kept % 100 ? `${kept} % ${one && `of ${one}s `}kept` : `${one && `${one} `}${kept ? "kept" : "removed"}`}`;
    }).find(Boolean),
  };
}

// ---------------------------------------------------------------- the course of a training: measure, density and loss, as far as the step shown
// data: { series: [{ name, style, at: the step shown, total, stops, phase, loss, value, density, born, died: one for each stop }], share: whether the value is a
// fraction, measure: its name, empty: what is said without a series }
export function course(pen, { series, share, measure, empty }, look) {
  const { ctx, width, height, unit, wide } = pen, { colours } = look, most = Math.max(...series.map(({ total }) => total), 1);
  if (!series.length) {
    label(pen, empty, width / 2, height / 2, colours.muted, { align: "center", weight: 500, size: 13 });
    return { words: `${empty}.`, note: "", probe: () => "" };
  }
  const top = 17 * unit, bottom = height - 19 * unit, left = wide("100 %") + 5, right = width - 8, part = (v) => (share ? `${(100 * v).toFixed(1)} %` : String(three(v)));
  const all = (key) => series.flatMap((one) => one[key].filter((v) => v !== null)), highs = { loss: Math.max(...all("loss")), value: share ? 1 : Math.max(...all("value"), 1e-9), density: 1 };
  const X = (step) => left + (step / most) * (right - left), Y = (key, v) => bottom - (v / highs[key]) * (bottom - top), step = niceStep(most, 5);
  for (const v of [0, 0.5, 1]) across(pen, look, left, right, Y("density", v), `${100 * v}${v === 1 ? " %" : ""}`, v ? colours.track : colours.muted);
  for (let v = 0; v <= most; v += step) down(pen, look, X(v), bottom, bottom + 3, height - 4 * unit, comma(v));
  const lines = (value) => [["value", `${value}${share ? "" : ` / ${three(highs.value)}`}`, 1.8, []], ["density", "density", 1.4, [2 * unit, 2 * unit]], ["loss", `loss / ${three(highs.loss)}`, 0.8, []]];
  const far = (entries) => entries.reduce((x, [, word]) => x + wide(word) + 30 * unit, -12 * unit);
  const [full, brief] = [`validation ${measure}`, measure].map(lines), kinds = far(full) <= width ? full : brief;
  kinds.reduce((x, [, word, thick, dash]) => {
    rule(ctx, x, 7 * unit, x + 14 * unit, 7 * unit, colours.muted, thick * unit, dash);
    label(pen, word, x + 18 * unit, 10.5 * unit, colours.muted);
    return x + wide(word) + 30 * unit;
  }, Math.max(0, Math.min(left, width - far(kinds))));
  for (const { style, at, stops, ...one } of series) {
    const changes = stops.filter((_, i) => i > 1 && one.shown[i] !== one.shown[i - 1]), draw = () => {
      for (const [key, , thick, dash] of kinds) {
        const line = new Path2D(), level = key === "density";
        let before = null;
        stops.forEach((stop, i) => {
          const v = one[key][i];
          if (v === null) return;
          if (before === null) line.moveTo(X(stop), Y(key, v));
          else if (level) line.lineTo(X(stop), Y(key, before));
          line.lineTo(X(stop), Y(key, (before = v)));
        });
        ctx.strokeStyle = style.colour;
        ctx.lineWidth = thick * unit;
        ctx.setLineDash(dash);
        ctx.stroke(line);
        ctx.setLineDash([]);
      }
      for (const stop of changes) rule(ctx, X(stop), bottom - 5 * unit, X(stop), bottom, style.colour, unit);
    };
    ctx.save();
    ctx.globalAlpha = 0.22;
    draw();
    ctx.beginPath();
    ctx.rect(0, 0, X(at), height);
    ctx.clip();
    ctx.globalAlpha = 1;
    draw();
    ctx.restore();
    rule(ctx, X(at), top, X(at), bottom, colours.accent, 1.5 * unit);
  }
  const reached = series.map(({ at, stops, ...one }) => ({ ...one, at, i: stops.indexOf(at) })), told = (v) => (v === null ? "not measured yet" : part(v));
  const words = reached.map(({ name, at, total, phase, loss, value, density, i }) => `Training of ${name}, step ${at} of ${total}${i === 0 ? "." : `, ${phase[i]}: loss ${loss[i]}, ${measure} ${told(value[i])}, density ${percent(density[i])}.`}`);
  const [{ loss, value, i }] = reached, single = i === 0 ? "" : `loss ${three(loss[i] ?? 0)}${value[i] === null ? "" : `, ${measure} ${part(value[i])}`}`;
  return {
    words: words.join(" "), note: series.length > 1 ? `${measure} ${reached.map(({ value: one, i: j }) => (one[j] === null ? "\u2013" : part(one[j]))).join(" and ")}` : single,
    probe: (x) => series.map(({ name, stops, ...one }) => {
      const at = stops.findLastIndex((stop) => X(stop) <= x);
      return at < 1 ? "" : `${name}, step ${stops[at]}, ${one.phase[at]}: loss ${one.loss[at]}, ${measure} ${told(one.value[at])}; in the layer ${one.born[at]} born, ${one.died[at]} died`;
    }).filter(Boolean).join("\n"),
  };
}

// ---------------------------------------------------------------- a dot for every run, a line through the means, against a ratio on a log axis
// data: { points: [{ name, style, kind: where it comes from in words, live, aside: only context, dashed, x, y, words }], most: the
// largest x, now: the x to mark, level: a y to mark or null, share: whether y is a fraction, in per cent, names: { x, y, level } in words, empty: what is said
// without points }
export function dots(pen, { points, most, now, level, share, names, empty }, look) {
  const { ctx, width, height, unit, wide } = pen, { colours } = look, arms = groups(points);
  const ys = [0, ...points.map(({ y }) => y), level ?? 0], low = share ? 0 : Math.min(...ys), high = share ? 1 : Math.max(...ys, low + 1e-9), step = share ? 0.25 : niceStep(high - low, 4);
  const rules = [], sign = (y) => (share ? `${100 * y}${y === 1 ? " %" : ""}` : String(three(y)));
  for (let y = Math.ceil(low / step - 1e-9) * step; y <= high + 1e-9 * step; y += step) rules.push(y);
  const left = Math.max(...rules.map((y) => wide(sign(y)))) + 5, right = width - 8, top = legend(pen, arms, look) + 7 * unit, bottom = height - 19 * unit;
  const X = (x) => left + (Math.log(x) / Math.log(most)) * (right - left), Y = (y) => bottom - ((y - low) / (high - low)) * (bottom - top);
  for (const y of rules) across(pen, look, left, right, Y(y), sign(y), y ? colours.track : colours.muted);
  for (let x = 1; x <= most; x *= 10) down(pen, look, X(x), bottom, bottom + 3, height - 4 * unit, `${comma(x)}x`);
  if (level !== null) rule(ctx, left, Y(level), right, Y(level), colours.text, unit, [5 * unit, 4 * unit]);
  rule(ctx, X(now), top - 4, X(now), bottom, colours.accent, 1.5 * unit);
  for (const { style, live, aside, dashed, means, points: own } of arms) {
    ctx.globalAlpha = live ? 1 : aside ? 0.3 : 0.6;
    means.slice(1).forEach(([x, y], i) => rule(ctx, X(means[i][0]), Y(means[i][1]), X(x), Y(y), style.colour, 1.5 * unit, dashed ? [4 * unit, 2 * unit] : []));
    for (const { x, y } of aside ? [] : own) {
      if (live) stamp(ctx, { ...style, colour: colours.card }, X(x), Y(y), 5.6 * unit);
      stamp(ctx, style, X(x), Y(y), (live ? 4.2 : 2.6) * unit);
    }
  }
  ctx.globalAlpha = 1;
  if (!points.length) {
    const half = wide(empty, 500, 13) / 2 + 6, x = (left + right) / 2, y = (top + bottom) / 2;
    ctx.fillStyle = colours.card;
    ctx.fillRect(x - half, y - 13 * unit, 2 * half, 26 * unit);
    label(pen, empty, x, y + 4.5 * unit, colours.muted, { align: "center", weight: 500, size: 13 });
  }
  const part = (y) => (share ? `${(100 * y).toFixed(1)} %` : String(three(y))), said = ([x, y, n]) => `${part(y)} at ${times(x)} (${n} point${n === 1 ? "" : "s"})`;
  const [dense, split = ""] = names.level.split(", "), ends = split && `, ${split}`, full = `\u2013 \u2013 ${dense.split(" ")[0].toLowerCase()} ${part(level ?? 0)}${ends}`;
  const notes = [...(share ? [] : [`${names.y.toLowerCase()}; ${full}`]), full, `\u2013 \u2013 ${part(level ?? 0)}${ends}`];
  const arm = ({ name, kind, means }) => `${name}, ${kind}: ${means.map(said).join(", ")}`;
  return {
    words: `${names.y} against ${names.x}, now at ${times(now)}. ${level === null ? "" : `${names.level} ${part(level)}. `}${arms.map(arm).join("; ") || "No point yet"}.`,
    note: level === null ? names.y.toLowerCase() : notes.find((words) => wide(words) < width - wide("Trade-off", 700, 13) - wide("Clear") - 60 * unit) ?? notes.at(-1),
    probe: (px, py) => {
      const [near] = points.map((point) => ({ ...point, far: Math.hypot(X(point.x) - px, Y(point.y) - py) })).sort((a, b) => a.far - b.far);
      return near?.far < 8 * unit ? `${near.name}, ${times(near.x)}: ${part(near.y)}\n${near.words}` : "";
    },
  };
}

function groups(points) { // the arms, context first, then recorded ones: live ones are drawn over them. Means are [x, mean y, number of points]
  const found = new Map();
  for (const point of points) {
    const key = `${point.name} ${point.kind}`;
    if (!found.has(key)) found.set(key, { ...point, points: [], at: new Map() });
    const { points: own, at } = found.get(key);
    own.push(point);
    at.set(point.x, [...(at.get(point.x) ?? []), point.y]);
  }
  const means = ({ at }) => [...at].map(([x, ys]) => [x, mean(ys), ys.length]).sort((a, b) => a[0] - b[0]);
  return [...found.values()].map((arm) => ({ ...arm, means: means(arm) })).sort((a, b) => b.aside - a.aside || a.live - b.live);
}

function legend(pen, arms, look) { // at most two rows of names, what does not fit is counted; below them what the sizes of dots mean. Returns the height
  const { ctx, width, unit, wide } = pen, { colours } = look, pitch = 14 * unit;
  const names = [...new Map(arms.map((arm) => [arm.name, arm])).values()].sort((a, b) => a.aside - b.aside || (a.name < b.name ? -1 : 1));
  let x = 0, row = 0;
  for (const [i, { name, style, aside }] of names.entries()) {
    const far = wide(name) + 12 * unit, last = i === names.length - 1;
    if (x > 0 && row === 0 && x + far > width) { x = 0; row = 1; }
    if (row === 1 && x + far > width - (last ? 0 : 9 * unit + wide("+99", 600))) { label(pen, `+${names.length - i}`, x, 10.5 * unit + pitch, colours.muted, { weight: 600 }); break; }
    ctx.globalAlpha = aside ? 0.5 : 1;
    stamp(ctx, style, x + 4.5 * unit, 7 * unit + row * pitch, 4 * unit);
    ctx.globalAlpha = 1;
    label(pen, name, x + 12 * unit, 10.5 * unit + row * pitch, aside ? colours.muted : colours.text, { room: width - 12 * unit });
    x += far + 9 * unit;
  }
  const kinds = [...new Map(arms.map((arm) => [arm.kind, arm])).values()], foot = pitch * (row + 1);
  kinds.reduce((left, { kind, live }) => {
    stamp(ctx, { marker: "o", colour: colours.muted }, left + 4.5 * unit, foot + 7 * unit, (live ? 4.2 : 2.6) * unit);
    label(pen, kind, left + 12 * unit, foot + 10.5 * unit, colours.muted, { room: width - left - 12 * unit });
    return left + wide(kind) + 26 * unit;
  }, 0);
  return kinds.length ? foot + pitch : 0;
}
