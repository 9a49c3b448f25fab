// Sorts and filters the table of runs. Without it, the table is whole, in the order of the files' names.
const table = document.querySelector(".runs"), body = table.tBodies[0], find = document.querySelector(".find");
const [words, state, said] = ["input", "select", "output"].map((name) => find.querySelector(name));
const heads = [...table.querySelectorAll(".sorts")];
const parameters = heads.slice(1, -3).map((head) => [head.textContent.toLowerCase(), head.cellIndex]);
const shared = [...document.querySelectorAll(".lead strong")].map((one) => one.textContent.toLowerCase().split(" = "));
const wordsOf = (row) => [...row.cells].filter((cell) => !cell.matches(".time")).map((cell) => {
  const file = cell.querySelector(":scope > small")?.textContent ?? ""; // its hash is no word that anybody looks for
  return file ? cell.textContent.replace(file, "") : cell.textContent;
}).join(" ").toLowerCase();
const rows = [...body.rows].map((row, place) => ({
  row, place, text: wordsOf(row),
  values: new Map([...shared, ...parameters.map(([name, at]) => [name, row.cells[at].textContent.trim().toLowerCase()])]),
}));
const known = new Set(rows.flatMap(({ values }) => [...values.keys()]));
const names = new Intl.Collator("en", { numeric: true });
let sorted = -1, down = false; // the column's place among the heads

const shown = (row, column) => {
  const cell = row.cells[column], text = cell.textContent.trim(), number = cell.matches(".number");
  return { kind: text === "" ? 2 : number ? 0 : 1, number: number ? Number(text) : 0, text: number ? "" : text };
};

const sort = (column, downwards) => {
  [sorted, down] = [column, downwards];
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const sign = down ? -1 : 1, keys = new Map(rows.map(({ row }) => [row, shown(row, heads[column].cellIndex)]));
  const order = ({ row: a, place: i }, { row: b, place: j }) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    return (x.kind === 2) - (y.kind === 2) || sign * (x.kind - y.kind || x.number - y.number || names.compare(x.text, y.text)) || i - j;
  };
  body.append(...rows.toSorted(order).map(({ row }) => row)); // empty cells come last, both ways
};

// What is asked for: words that a run has, and parameters with their values, "seed 1" or "seed=1".
const asked = () => {
  const wanted = [], given = words.value.toLowerCase().replace(/\s*=\s*/g, "=").split(/\s+/).filter(Boolean);
  while (given.length) {
    const word = given.shift(), [name, ...value] = word.split("=");
    if (known.has(name) && value.length) wanted.push([name, value.join("=")]);
    else if (known.has(word) && given.length) wanted.push([word, given.shift()]);
    else wanted.push(["", word]);
  }
  return wanted;
};

const has = ({ text, values }, [name, word]) => {
  if (!name) return text.includes(word) || Boolean(values.get(word)); // the name of a parameter that it takes
  const value = values.get(name) ?? "", number = Number(word);
  return value !== "" && word !== "" && !Number.isNaN(number) ? Number(value) === number : value.startsWith(word);
};

const filter = () => {
  const wanted = asked();
  let count = 0;
  for (const { row, ...one } of rows) {
    const found = (!state.value || row.dataset.state === state.value) && wanted.every((what) => has(one, what));
    row.hidden = !found;
    count += found;
  }
  said.value = `${count} of ${rows.length} shown`;
};

const remember = () => { // in the address, so that the page keeps it when it is loaded again
  const kept = { words: words.value, state: state.value, sort: heads[sorted]?.textContent, down: down && "1" };
  history.replaceState(null, "", `#${new URLSearchParams(Object.entries(kept).filter(([, value]) => value))}`);
};

for (const name of new Set(rows.map(({ row }) => row.dataset.state))) state.add(new Option(name));
heads.forEach((head, column) => {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => { sort(column, sorted === column && !down); remember(); });
});
find.addEventListener("input", () => { filter(); remember(); });
find.hidden = false;

const kept = new URLSearchParams(location.hash.slice(1));
words.value = kept.get("words") ?? "";
state.value = kept.get("state") ?? "";
if (state.selectedIndex < 0) state.value = "";
const column = heads.findIndex((head) => head.textContent === kept.get("sort"));
if (column >= 0) sort(column, kept.has("down"));
filter();
