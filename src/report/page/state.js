// What is shown, and what of it is chosen. Choices hold names and values, never places, so that they survive new data.

const state = {
  data: null,
  colourBy: "",
  /** Of axes, by name: `{ low, high }` of numbers, or `{ values }`. */
  brushes: new Map(),
  search: "",
  status: "",
  /** Names of variants that the legend hides. */
  hidden: new Set(),
  /** Names of variants that are held on to. */
  pinned: new Set(),
  /** The row under the pointer. */
  hovered: null,
  /** The rows that pass all filters. */
  rows: [],
  colours: null,
};

/** Drawings: `draw` all of it, `mark` what is hovered and pinned. */
const views = [];

/** The value of a row on an axis: of a key, or of a measure. */
function valueOn(row, axis) {
  return axis.key !== undefined ? row.values[axis.key] : row.means[axis.measure];
}

function passes(row) {
  if (state.hidden.has(row.name)) return false;
  if (state.status && row.status !== state.status) return false;
  if (state.search && !row.text.includes(state.search)) return false;
  for (const axis of axesOf(state.data)) {
    const brush = state.brushes.get(axis.name);
    if (!brush) continue;
    const value = valueOn(row, axis);
    if (value === null) return false;
    if (brush.values ? !brush.values.includes(String(value)) : value < brush.low || value > brush.high) return false;
  }
  return true;
}

/** By what the sweep compares its trials, where that is another figure than the accuracy. */
function ownMetric() {
  return [state.data.metric.measure].filter((name) => name !== "val top-1");
}

/** Axes of parallel coordinates: the keys, what they cost, and the accuracy. */
function axesOf(data) {
  const keys = data.keys.map((name, key) => ({ name, key }));
  const wanted = ["params", "time", "memory", ...ownMetric(), "val top-1", "test top-1"];
  const measured = wanted.map((name) => ({ name, measure: data.measures.findIndex((measure) => measure.name === name) }));
  return [...keys, ...measured.filter(({ measure }) => measure >= 0 && data.rows.some((row) => row.means[measure] !== null))];
}

/** The last words of dotted keys, where that leaves them different. */
function shortKeys(keys) {
  const last = keys.map((key) => key.split(".").at(-1));
  return keys.map((key, at) => (last.filter((word) => word === last[at]).length === 1 ? last[at] : key));
}

/** Takes data, new or anew. */
function take(data) {
  const keys = shortKeys(data.keys);
  data.rows.forEach((row, at) => {
    row.at = at;
    // Drawn numbers have sixteen digits, of which a few tell them apart. The name keeps all.
    row.labels = row.labels.map((label, key) => (typeof row.values[key] === "number" && label.length > 8 ? plain(row.values[key], 4) : label));
    const parts = keys.flatMap((key, at) => (row.labels[at] === null ? [] : [`${key}=${row.labels[at]}`]));
    row.title = parts.join(" ") || row.name;
    row.text = `${row.name} ${row.state}`.toLowerCase();
  });
  const hovered = state.hovered?.name;
  for (const brush of state.brushes.values()) delete brush.drawn;
  state.data = data;
  state.hovered = data.rows.find((row) => row.name === hovered) ?? null;
  if (!colourings().some(([value]) => value === state.colourBy)) state.colourBy = defaultColouring();
}

let asked = false;

/** Draws all, once, before the next frame. */
function changed() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(redraw);
}

function redraw() {
  asked = false;
  state.rows = state.data.rows.filter(passes);
  state.colours = colouring();
  for (const view of views) view.draw();
  for (const view of views) view.mark?.();
}

/** Has a row stand out in all drawings. */
function hover(row) {
  if (row === state.hovered) return;
  state.hovered = row;
  for (const view of views) view.mark?.();
}

function pin(row) {
  if (!state.pinned.delete(row.name)) state.pinned.add(row.name);
  for (const view of views) view.mark?.();
}

/** Rows that stand out, last the one under the pointer. */
function marked() {
  const rows = state.rows.filter((row) => state.pinned.has(row.name) && row !== state.hovered);
  if (state.hovered && state.rows.includes(state.hovered)) rows.push(state.hovered);
  return rows;
}

function clearFilters() {
  state.brushes.clear();
  state.hidden.clear();
  state.search = state.status = "";
  changed();
}
