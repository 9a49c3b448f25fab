// A raster of colours, one of whose cells is picked with the pointer or with the arrow keys.
import { make, newId, ownKeys, write } from "./kit.js";

const RASTER = { width: 280, wide: 580, least: 5, easy: 9, most: 26, closed: 0.3 }; // widths of the whole (a flat one may be wide) and of a cell at 100 %; opacity of a cell that cannot be picked

// `move(place)` after each pick; a place counts the cells row by row.
export function raster(move) {
  let now = 0, columns = 1, count = 1, open = () => true, drawn = "";
  const id = newId("raster"), name = make("span", { id, class: "wb-name" }), said = make("output");
  const canvas = make("canvas", { tabIndex: 0, role: "slider", "aria-labelledby": id, "aria-valuemin": 0 });
  const mark = make("i"), board = make("div", { class: "wb-board" }, canvas, mark);
  const pick = (to) => { if (to >= 0 && to < count && to !== now && open(to)) move((now = to)); };
  const walk = (by) => { let to = now + by; while (to >= 0 && to < count && !open(to)) to += by; pick(to); };
  const edges = () => ({ Home: [...Array(count).keys()].find(open), End: [...Array(count).keys()].findLast(open) });
  const steps = () => ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns });
  const inside = (share, size) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
  ownKeys(canvas);
  canvas.addEventListener("keydown", (event) => {
    const by = steps()[event.key], edge = edges()[event.key];
    if ((by === undefined && edge === undefined) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (by === undefined) pick(edge);
    else walk(by);
  });
  const point = (event) => {
    const box = canvas.getBoundingClientRect(), row = inside((event.clientY - box.top) / box.height, count / columns);
    pick(row * columns + inside((event.clientX - box.left) / box.width, columns));
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });

  function paint(colours) {
    const rows = count / columns, pen = canvas.getContext("2d");
    const fits = RASTER.width / Math.max(columns, rows), flat = Math.min(RASTER.easy, RASTER.wide / columns, RASTER.width / rows);
    const size = Math.min(RASTER.most, Math.max(RASTER.least, fits, flat));
    Object.assign(canvas, { width: columns, height: rows });
    Object.assign(board.style, { width: `calc(${(size * columns).toFixed(1)} * var(--wb-u))`, aspectRatio: `${columns} / ${rows}` });
    colours.forEach((colour, at) => {
      pen.globalAlpha = open(at) ? 1 : RASTER.closed;
      pen.fillStyle = colour;
      pen.fillRect(at % columns, Math.floor(at / columns), 1, 1);
    });
  }

  return {
    node: make("div", { class: "wb-raster" }, name, board, said),
    update(label, words, place, { columns: wide, colours }, may = () => true) {
      [now, columns, count, open] = [place, wide, colours.length, may];
      const looks = `${columns} ${colours} ${open(now)}`;
      if (looks !== drawn) { paint(colours); drawn = looks; }
      canvas.setAttribute("aria-disabled", !open(now));
      write(name, label);
      write(said, words[now]);
      for (const [key, value] of Object.entries({ max: count - 1, now, text: words[now] })) canvas.setAttribute(`aria-value${key}`, value);
      const [row, column] = [Math.floor(now / columns), now % columns], part = (share) => `${100 * share}%`;
      Object.assign(mark.style, { left: part(column / columns), top: part((row * columns) / count), width: part(1 / columns), height: part(columns / count) });
    },
  };
}
