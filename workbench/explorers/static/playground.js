// The playground's page: which controls and charts stand where, and what they are called.
import { alarm, comma, countField, field, make, nearest, notch, percent, renew, short, slider, stepSlider, themeButton, times, write } from "./kit.js";
import { mark, picture } from "./pen.js";
import { bars, course, dots, histogram, raster } from "./charts.js";
import { explorer } from "./explorer.js";

const NAME = "Pruning playground";
const FIELDS = [["data", "Data"], ["network", "Network"], ["timing", "Timing"], ["criterion", "Criterion"], ["granularity", "Granularity"], ["allocation", "Allocation"], ["rounds", "Rounds"], ["layer", "Layer"]];
const WAY = ["timing", "k", "criterion", "granularity", "allocation", "rounds"]; // how masks are found: what a pinned setting is made of
const NO_KERNEL = "This page has no kernel: sliders and menus move through stored pictures. Run the notebook to train and for all choices.";

// ---------------------------------------------------------------- pictures made ahead: { request, settings: [{ ...the way, stops, sides: one for each stop }] }
const same = (one, other) => WAY.every((key) => one[key] === other[key]);
const ways = (choices) => (choices.compare && !same(choices, choices.compare) ? [choices, choices.compare] : [choices]); // what is shown: a setting, or two
const chosen = ({ frames: { settings = [] }, choices }) => ways(choices).map((way) => settings.find((one) => same(one, way)));

const fixedAt = ({ menu, choices }) => !menu.methods.includes(choices.timing) && menu.fixed[choices.granularity]; // the one compression of a granularity with a fixed share

function places(traits) { // the slider's stops: without a kernel those that all settings shown have a picture of
  if (traits.menu.face === "live") return traits.menu.stops;
  const [first, ...more] = chosen(traits).filter(({ granularity }) => !traits.menu.fixed[granularity]);
  if (!first) return traits.menu.stops;
  return first.stops.filter((stop) => more.every(({ stops }) => stops.includes(stop)));
}

// ---------------------------------------------------------------- recorded trainings: { of: the choices they belong to, films: one for each setting shown }
function filmed({ runs: { of, films }, choices }) { // of every setting shown, or none
  if (!films || ["data", "network", "compression", "layer", "seed"].some((key) => of[key] !== choices[key])) return [];
  const found = ways(choices).map((way) => films[ways(of).findIndex((one) => same(one, way))]);
  return found.includes(undefined) ? [] : found;
}
const placeOf = ({ stops, total }, step) => stops.findLastIndex((stop) => stop <= (step ?? total));

function scene(film, step) { // the picture after a step (null: the last), with what the training had reached
  const place = placeOf(film, step), at = film.stops[place], side = film.sides[film.shown[place]], [born, died] = [film.born[place], film.died[place]];
  if (place === 0) return side;
  const before = born + died && film.shown[place] > film.shown[place - 1] ? film.sides[film.shown[place - 1]].mask : null; // where this very step changed the mask
  return { ...side, sentence: `${side.sentence}; step ${at} of ${film.total}`, step: { at, born, died, before } };
}

function stored(traits) {
  const { menu, choices, frames } = traits, films = filmed(traits), made = chosen(traits);
  if (films.length) return { request: choices.request, compression: choices.compression, sparsity: 1 - 1 / choices.compression, sides: films.map((film) => scene(film, choices.step)) };
  if (made.includes(undefined)) return undefined;
  const stops = places(traits), compression = fixedAt(traits) || stops[nearest(stops, choices.compression)];
  const sides = made.map((one) => one.sides[Math.max(0, one.stops.indexOf(compression))]); // a fixed share has one
  return { request: menu.face === "live" ? frames.request : choices.request, compression, sparsity: 1 - 1 / compression, sides };
}

function offered({ frames: { settings }, choices }) { // without a kernel: what is stored, as far as the other choices stay
  const values = (key) => settings.filter((one) => same({ ...one, [key]: choices[key] }, choices)).map((one) => one[key]);
  return Object.fromEntries(FIELDS.map(([key]) => [key, WAY.includes(key) ? [...new Set(values(key))].sort((a, b) => (a > b) - (a < b)) : [choices[key]]]));
}

// ---------------------------------------------------------------- what the charts are given
const SPLITS = { val: "validation", test: "test" }; // what a point was measured on; of rows that do not say it nothing is said
const measured = (what, split) => (SPLITS[split] ? `${what}, ${SPLITS[split]}` : what);
const styled = (look, maker, timing, second = false) => ({ ...look.of(maker, second), ...(timing === "before" ? {} : { marker: look.of(timing).marker }) });
const moved = (sides) => (sides.every(({ step }) => step) ? `; ${sides.map(({ step }) => comma(step.born)).join(" and ")} born, ${sides.map(({ step }) => comma(step.died)).join(" and ")} died` : "");
const CHARTS = {
  scores: [histogram, ({ sides }) => ({
    series: sides.filter(({ scores }) => scores).map(({ criterion, name, style, unit, scores }) => ({ ...scores, name, style, of: `the ${criterion} scores of ${comma(scores.zero + scores.counts.reduce((a, b) => a + b, 0))} ${unit}s` })),
  })],
  course: [course, ({ sides, films, choices, menu, live }) => ({
    title: "Training", share: menu.measure === "accuracy", measure: menu.measure, empty: `The masks come from a training${live ? ": press Train" : ""}`,
    series: films.map((film, i) => ({ ...film, name: sides[i].name, style: sides[i].style, at: film.stops[placeOf(film, choices.step)] })),
  })],
  layers: [bars, ({ sides }) => ({ series: sides.map(({ name, style, layers }) => ({ name, style, layers })) })],
  mask: [raster, ({ sides }) => ({
    note: [...new Set(sides.map(({ mask }) => mask.note))].map((note, i) => (i ? note.replace("one cell = ", "") : note)).join("; ") + moved(sides), // of two grains both
    series: sides.map(({ name, style, mask, layers, step }) => {
      const { kept, size } = layers.find((layer) => layer.name === mask.layer) ?? { kept: 0, size: 0 };
      const marked = step?.before ? " Marked: where weights were born or died." : "";
      return { ...mask, name, style, step, words: `Mask of ${mask.layer} after ${name}: ${comma(kept)} of ${comma(size)} weights kept, ${mask.rows} by ${mask.cols} cells, ${mask.note}${moved([{ step }])}.${marked}` };
    }),
  })],
  tradeoff: [dots, ({ curve, choices, baseline, menu, compression, live, sides, waiting }, look) => ({
    points: curve.filter((point) => ["data", "network"].every((key) => point[key] === choices[key]) && (point.kind === "live" || ways(choices).some((way) => way.granularity === point.granularity))).map(({ maker, timing, name, rounds, kind, split, seed, ...point }) => ({
      name, style: sides.find((side) => side.name === name)?.style ?? styled(look, maker, timing), dashed: rounds === 1, live: kind === "live", x: point.compression, y: point[menu.measure],
      kind: measured(kind, split), aside: kind !== "live" && !sides.some((side) => side.name === name), words: `${measured(kind, split)}, seed ${seed}, ${rounds} round${rounds === 1 ? "" : "s"}`,
    })),
    most: Math.max(menu.stops.at(-1), ...curve.map((point) => point.compression)), now: choices.granularity === "weight" || waiting ? compression : sides[0].numbers.compression, level: baseline.dense ?? null, share: menu.measure === "accuracy",
    names: { x: "compression", y: `${menu.measure[0].toUpperCase()}${menu.measure.slice(1)}`, level: measured(`Dense ${menu.measure}`, baseline.split) },
    empty: live ? "Press Train to add a point" : "No point recorded",
  })],
};

// ---------------------------------------------------------------- the left column
function inWords({ timing, k, criterion, granularity, allocation, rounds }, { methods, fixed }) {
  const step = k === null ? [] : [`k ${k}`], count = `${rounds} round${rounds > 1 ? "s" : ""}`;
  if (methods.includes(timing)) return [timing, ...step, allocation].join(", ");
  return [timing, ...step, criterion, ...(granularity === "weight" ? [] : [granularity]), ...(fixed[granularity] ? [] : [allocation, count])].join(", ");
}

function buildSide(act, fields) {
  const buttons = {}, button = (text, kind, props = {}) => (buttons[kind] = make("button", { type: "button", textContent: text, onclick: () => act.send(kind), ...props }));
  const row = (...nodes) => make("div", { class: "wb-row" }, ...nodes), theme = themeButton(act);
  const title = make("div", { class: "wb-title", textContent: NAME }), message = make("div", { class: "wb-message", role: "status" });
  const progress = make("progress", { max: 1, value: 0, "aria-label": "Progress of the training" });
  const run = make("div", { class: "wb-run" }, button("Train", "train", { className: "wb-train" }), button("Cancel", "cancel"));
  const texts = row(button("Show code", "code"), button("State", "state"), theme.node);
  const files = row(button("Table", "save_table"), button("Figure", "save_figure"), button("Masks", "save_masks"));
  const save = make("div", { class: "wb-save", role: "group", "aria-label": "Save" }, make("div", { class: "wb-name", textContent: "Save" }), files);
  const clear = button("Clear", "clear_points", { className: "wb-quiet", title: "Clear points", "aria-label": "Clear points" });
  const pin = make("button", { type: "button", onclick: () => act.choose({ compare: act.choices().compare ? null : Object.fromEntries(WAY.map((key) => [key, act.choices()[key]])) }) });
  const pinned = make("div", { class: "wb-pinned" }), compare = make("div", { class: "wb-pin", role: "group", "aria-label": "Compare" }, make("div", { class: "wb-name", textContent: "Compare" }), pin, pinned);
  const { data, network, timing, k, criterion, rounds, granularity, allocation } = fields, pair = (...two) => make("div", { class: "wb-pair" }, ...two.map(({ node }) => node));
  return {
    clear,
    node: make("div", { class: "wb-side" }, title, data.node, network.node, pair(timing, k), pair(criterion, rounds), granularity.node, allocation.node, compare,
      run, progress, message, texts, save),
    update(view) {
      const { menu, choices, status, curve, note, doing, live } = view;
      const training = status.busy === "training";
      const options = live ? { ...menu, network: menu.networks[choices.data] ?? [choices.network], timing: menu.timings, criterion: menu.criteria, granularity: menu.granularities,
        allocation: menu.allocations, layer: menu.layers } : offered(view);
      const during = menu.methods.includes(choices.timing), same = menu.fixed[choices.granularity] ? { allocation: "layer", rounds: 1 } : {};
      const own = during ? { criterion: "its own", rounds: "\u2013", granularity: "weight" } : same; // what the timing, or a granularity of one share, does not use
      for (const [key] of FIELDS) {
        if (own[key]) fields[key].update([own[key]], own[key], true);
        else fields[key].update(options[key].includes(choices[key]) ? options[key] : [...options[key], choices[key]], choices[key], !live && options[key].length < 2);
      }
      const { usual, most, timings } = menu.k, taken = timings.includes(choices.timing), what = choices.timing === "early" ? "The cut comes after" : "Weights go back to";
      const step = taken ? `${what} step k: 0 to ${comma(most)}, usually ${comma(usual)}.` : "";
      k.node.hidden = !taken;
      k.update(choices.k, menu.k, step, !live);
      write(pin, choices.compare ? "Unpin" : "Pin");
      write(pinned, choices.compare ? inWords(choices.compare, menu) : "Pin this, then change it.");
      pinned.title = pinned.textContent;
      for (const node of [run, progress, save, buttons.code, buttons.state, clear]) node.hidden = !live;
      clear.disabled = !curve.some(({ kind }) => kind === "live");
      buttons.train.disabled = training;
      buttons.cancel.disabled = !status.busy;
      progress.value = training ? status.progress : 0;
      write(message, note || [status.message, doing].filter(Boolean).join(". ") || (live ? step : NO_KERNEL));
      message.title = message.textContent; // long names of files
      theme.update(choices.theme);
    },
  };
}

// ---------------------------------------------------------------- headline, alarms, numbers
function paintSentence(node, { sides, waiting, compression, sparsity }) {
  const two = sides.length > 1, line = () => make("div", { class: "wb-side-line" }, ...["wb-who", "wb-head", "wb-hush", "wb-rest"].map((name) => make("span", { class: name })));
  node.classList.toggle("wb-two", two);
  if (node.children.length !== sides.length) node.replaceChildren(...sides.map(line));
  sides.forEach(({ name, style, sentence }, i) => {
    const [who, head, joint, rest] = node.children[i].children, [first, ...others] = sentence.split(";");
    who.title = two ? name : "";
    renew(who, two && [name, style], () => (two ? [mark(style), name, make("span", { class: "wb-hush", textContent: ": " })] : []));
    write(head, waiting ? `${percent(sparsity)} removed, ${times(compression)}` : first);
    write(joint, "; ");
    write(rest, others.join(";").trim());
    rest.title = rest.textContent;
  });
}

function paintAlarm(node, { sides }, look, width) {
  const two = sides.length > 1, alarms = sides.filter((side) => side.alarm).map(({ name, style, alarm: text }) => ({ style, text, who: two ? `${name}: ` : "" }));
  node.title = alarms.map(({ who, text }) => who + text).join("\n");
  renew(node, [node.title, look.unit, look.theme, width], () => { // of two alarms each has one line: all of it, or its first clause, or that with a marker for a name
    const fit = (words) => !two || words.every((text) => look.wide(text, 600, 11.5) < width - 44), whole = alarms.map(({ who, text }) => who + text);
    if (fit(whole)) return whole.map((text) => alarm(text));
    const clauses = alarms.map(({ text }) => text.split(/[:,]/)[0]), named = alarms.map(({ who }, i) => who + clauses[i]);
    return alarms.map(({ style, who }, i) => (fit(named) ? alarm(named[i]) : alarm(make("span", { class: "wb-hush", textContent: who }), mark(style), clauses[i])));
  });
}

function paintNumbers(node, { sides }) {
  const { total, macs_dense: macsDense } = sides[0].numbers, two = sides.length > 1;
  const cells = [
    [`kept of ${total < 1e6 ? comma(total) : short(total)}`, `Weights kept of all ${comma(total)} prunable weights`, ({ kept }) => comma(kept)],
    ["size ratio", "All parameters before / nonzero parameters after, biases and norms counted", (n) => times(n.size_ratio)],
    ["effective sparsity", "Also counts kept weights on no path from input to output, where paths can be seen", (n) => (n.effective === null ? (n.pending ? "\u2026" : "\u2013") : percent(n.effective))],
    [macsDense === null ? "MACs" : `MACs of ${short(macsDense)}`, "Multiply-adds of one example, kept weights only", ({ macs }) => (macs === null ? "\u2013" : short(macs))],
    ["critical", "Critical compression: the highest this setting reaches with every layer alive; known for one round under global allocation", ({ critical }) => (critical === null ? "\u2013" : times(critical))],
    ["maximum", `Max compression: one ${sides[0].unit} a layer, the limit of the network`, ({ max_compression: max }) => (max === null ? "\u2013" : times(max))],
  ].map(([name, title, value]) => ({ name, title, values: sides.map(({ numbers, pending }) => value({ ...numbers, pending })) }));
  node.classList.toggle("wb-pairs", two);
  renew(node, [cells, sides.map(({ style }) => style)], () => cells.map(({ name, title, values }) => make("div", { class: "wb-number", title },
    make("div", { class: "wb-what" }, name, ...(name === "critical" ? [" ", notch(9, "currentColor")] : [])),
    ...values.map((value, i) => make("div", { class: "wb-value" }, ...(two ? [mark(sides[i].style)] : []), value)))));
}

function paintStep(step, { films, choices, runs, live }) {
  const stops = [...new Set(films.flatMap((film) => film.stops))].sort((a, b) => a - b), last = stops.length - 1, [film] = films;
  step.node.hidden = !live && !runs.films;
  if (!film) { step.update([0], 0, live ? "Step: Train records a training" : `Step: recorded at ${times(runs.of?.compression)}`, true); return; }
  const place = choices.step === null ? last : stops.findLastIndex((stop) => stop <= choices.step), phases = new Set(films.map((one) => one.phase[placeOf(one, stops[place])]));
  step.update(stops, place, place ? `Step ${comma(stops[place])} of ${comma(stops[last])}: ${[...phases].join(" and ")}` : "Step 0: the start", false);
}

// ---------------------------------------------------------------- the whole
function build(act) {
  const fields = Object.fromEntries(FIELDS.map(([key, text]) => [key, field(key, text, (value) => act.choose({ ...(key === "layer" ? {} : { step: null }), ...(key === "timing" ? { k: null } : {}), [key]: value }))]));
  fields.k = countField("k", "Step k", (k) => act.choose({ step: null, k }));
  const side = buildSide(act, fields), range = slider("Compression (log scale)", (compression) => act.slide({ compression, step: null }));
  const step = stepSlider("Step of the training", (at) => act.slide({ step: at })), sliders = make("div", { class: "wb-sliders" }, range.node, step.node);
  let measured = null, width = 0;
  const [sentence, alarms, numbers] = ["sentence", "alarm", "numbers"].map((name) => make("div", { class: `wb-${name}` }));
  sentence.setAttribute("aria-live", "polite");
  alarms.setAttribute("role", "status");
  const card = { layers: ["Layers"], scores: ["Scores"], mask: ["Mask", fields.layer.node], tradeoff: ["Trade-off", side.clear] };
  const pictures = Object.entries(card).map(([kind, [title, ...extra]]) => [kind, picture(kind, title, act.tip, ...extra)]);
  const [first, ...others] = pictures.map(([, { node }]) => node);
  return {
    nodes: [make("div", { class: "wb-page" }, sentence, sliders, alarms, first, side.node, numbers, ...others)],
    paint(traits, look) {
      const { menu, choices, frame, waiting } = traits, stops = places(traits), fixed = fixedAt(traits);
      const stop = nearest(stops, fixed || choices.compression), compression = fixed || stops[stop], most = stops.at(-1), { unit } = frame.sides[0];
      const sides = frame.sides.map((side, i, [first]) => ({ ...side, style: styled(look, side.criterion, side.timing, i > 0 && side.criterion === first.criterion) }));
      const view = { ...traits, sides, compression, sparsity: waiting ? 1 - 1 / compression : frame.sparsity, live: menu.face === "live", films: filmed(traits) };
      if (measured !== look) [measured, width] = [look, alarms.clientWidth];
      const notches = sides.map(({ style, notch: at }) => ({ at, colour: style.colour })).filter(({ at }) => at > 1 && at <= most);
      side.update(view);
      paintStep(step, view);
      const why = fixed ? `always ${times(fixed)}: ${choices.granularity} keeps ${percent(1 / fixed)}` : "", of = unit === "weight" ? "" : ` of ${unit}s`;
      range.update(stops, stop, `${times(compression)}, ${percent(view.sparsity)}${of} removed`, notches, look, of, why);
      paintSentence(sentence, view);
      paintAlarm(alarms, view, look, width);
      paintNumbers(numbers, view);
      const shown = { scores: sides.some(({ scores }) => scores) ? "scores" : "course" };
      for (const [kind, { update }] of pictures) {
        const [chart, given] = CHARTS[shown[kind] ?? kind];
        update(chart, given(view, look), look);
      }
      return { stop };
    },
  };
}

export default {
  render: (given) => explorer(given, {
    name: NAME,
    kind: "playground",
    traits: ["menu", "choices", "frame", "frames", "runs", "curve", "baseline", "status"],
    sliding: ["compression", "step", "compare", ...WAY],
    stored,
    build,
  }),
};
