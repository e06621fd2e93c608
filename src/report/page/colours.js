// Colours of variants. Categories are those of Okabe and Ito, ramps are viridis: both are told apart by people who see few
// colours. Each has a form for a light and for a dark ground.

const CATEGORIES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#5d5d5d"],
  dark: ["#56b4e9", "#f28c4a", "#35c79a", "#e09cc3", "#f0e442", "#9db7ff", "#b8b8b8"],
};
const VIRIDIS = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"].map(
  (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)),
);
/** The part of viridis that stands out from each ground. */
const SPAN = { light: [0, 0.86], dark: [0.3, 1] };

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const ground = () => (document.documentElement.style.colorScheme || (prefersDark.matches ? "dark" : "light")) === "dark" ? "dark" : "light";

/** What a named colour of the style is now, as a canvas needs it. */
function named(name) {
  const probe = byId("probe");
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function ramp(share) {
  const [low, high] = SPAN[ground()];
  const place = (low + Math.min(Math.max(share, 0), 1) * (high - low)) * (VIRIDIS.length - 1);
  const at = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const mixed = VIRIDIS[at].map((part, channel) => Math.round(part + (place - at) * (VIRIDIS[at + 1][channel] - part)));
  return `rgb(${mixed.join(" ")})`;
}

/** What rows can be coloured by: pairs of value and text. */
function colourings() {
  const few = state.data.rows.length <= CATEGORIES.light.length;
  const keys = state.data.keys.map((key, at) => [`key ${at}`, key]);
  return [...(few ? [["variant", "variant"]] : []), ...state.data.measures.map((measure, at) => [`measure ${at}`, measure.name]), ...keys];
}

function defaultColouring() {
  const { rows } = state.data;
  if (rows.length <= CATEGORIES.light.length) return "variant";
  // What the sweep compares by. Otherwise the accuracy that most variants have; of the test images, if as many have that.
  const count = (name) => {
    const at = state.data.measures.findIndex((measure) => measure.name === name);
    return [at, at < 0 ? 0 : rows.filter((row) => row.means[at] !== null).length];
  };
  const own = ownMetric().map(count).find(([, rows]) => rows > 0);
  if (own) return `measure ${own[0]}`;
  const [test, validation] = [count("test top-1"), count("val top-1")];
  return `measure ${Math.max((validation[1] > 1.2 * test[1] ? validation : test)[0], 0)}`;
}

/** Colours of all rows, and what their legend says: `{ of: row => colour, items, scale }`. */
function colouring() {
  const { rows } = state.data;
  const categories = CATEGORIES[ground()];
  const none = named("none");
  const by = state.colourBy;
  if (by === "variant") {
    return { of: (row) => categories[row.at % categories.length], items: rows.map((row) => [row.title, categories[row.at % categories.length], [row]]) };
  }
  const [kind, at] = [by.split(" ")[0], Number(by.split(" ")[1])];
  const value = kind === "key" ? (row) => row.values[at] : (row) => row.means[at];
  const values = rows.map(value).filter((value) => value !== null);
  const distinct = [...new Set(values)];
  const numeric = values.every((value) => typeof value === "number");
  if (kind === "key" && distinct.length <= categories.length) {
    if (numeric) distinct.sort((a, b) => a - b);
    // Numbers have an order, which a ramp shows.
    const colour = (value) => (numeric && distinct.length > 1 ? ramp(distinct.indexOf(value) / (distinct.length - 1)) : categories[distinct.indexOf(value)]);
    const label = (value) => rows.find((row) => row.values[at] === value).labels[at];
    const items = distinct.map((entry) => [label(entry), colour(entry), rows.filter((row) => value(row) === entry)]);
    return { of: (row) => (value(row) === null ? none : colour(value(row))), items };
  }
  const unit = kind === "measure" ? state.data.measures[at].unit : null;
  const axis = placeAxis(rows.map(value), unit);
  const ends = axis.numeric ? extent(values).map((end) => shown(end, unit ?? "number")) : [axis.order[0], axis.order.at(-1)].map(String);
  // Of many, a few that are far from all others would leave these one colour: the ramp ends before them, and says so.
  let [low, high] = [0, 1];
  if (axis.numeric && values.length >= 20) {
    const sorted = values.map((value) => axis.place(value)).sort((a, b) => a - b);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    if (at(0.95) - at(0.1) > 0) {
      if (at(0.1) > 0.25) [low, ends[0]] = [at(0.1), `≤ ${shown(axis.value(at(0.1)), unit ?? "number")}`];
      if (at(0.95) < 0.75) [high, ends[1]] = [at(0.95), `≥ ${shown(axis.value(at(0.95)), unit ?? "number")}`];
    }
  }
  const colour = (row) => ramp((axis.place(value(row)) - low) / (high - low));
  return { of: (row) => (value(row) === null ? none : colour(row)), scale: values.length ? ends : null };
}
