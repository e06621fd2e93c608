// What stands around the drawings: the summary, the filters, the legend, what mattered, and accuracy by two keys.

const STATES = { finished: "finished", running: "training", stopped: "stopped early", failed: "failed", waiting: "not finished" };

function overviewView() {
  byId("search").addEventListener("input", (event) => {
    state.search = event.target.value.trim().toLowerCase();
    changed();
  });
  byId("status").addEventListener("change", (event) => {
    state.status = event.target.value;
    changed();
  });
  byId("clear").addEventListener("click", clearFilters);
  return { draw: drawOverview };
}

function drawOverview() {
  const { data, rows } = state;
  drawSummary(data);
  byId("count").textContent = rows.length === data.rows.length ? `${data.rows.length} variants` : `${rows.length} of ${data.rows.length} variants`;
  const filtered = rows.length !== data.rows.length || state.brushes.size > 0;
  byId("clear").hidden = !filtered;
  const search = byId("search");
  if (search.value.trim().toLowerCase() !== state.search) search.value = state.search;
  const there = Object.entries(STATES).filter(([status]) => status === state.status || data.rows.some((row) => row.status === status));
  byId("status").replaceChildren(element("option", { value: "" }, "any state"), ...there.map(([value, text]) => element("option", { value, selected: value === state.status }, text)));
  byId("status").hidden = there.length < 2;
  const axes = axesOf(data).map((axis) => ({ ...axis, unit: axis.measure === undefined ? null : data.measures[axis.measure].unit }));
  const chips = axes.filter((axis) => state.brushes.has(axis.name)).map((axis) => {
    const text = `${axis.name}: ${brushText(axis, state.brushes.get(axis.name))}`;
    return element("button", { type: "button", class: "chip", "aria-label": `Remove the filter ${text}`, onclick: () => unbrush(axis) }, text);
  });
  byId("chips").replaceChildren(...chips);
  const options = choice("colour by", colourings(), state.colourBy, (value) => {
    state.colourBy = value;
    state.hidden.clear();
    changed();
  });
  if (document.activeElement?.closest("#colour") === null) byId("colour").replaceChildren(options);
  drawLegend();
  drawImportance(data);
  drawPivot(data.pivot);
}

function drawSummary(data) {
  const count = (status) => data.rows.filter((row) => row.status === status).length;
  const states = Object.entries(STATES).filter(([status]) => count(status)).map(([status, text]) => `${count(status)} ${text}`);
  const parts = [["variants", `${data.rows.length}`, states.join(", ")]];
  for (const name of ["test top-1", ...ownMetric(), "val top-1"]) {
    const at = data.measures.findIndex((measure) => measure.name === name);
    const scored = data.rows.filter((row) => at >= 0 && row.means[at] !== null);
    if (!scored.length) continue;
    const sign = data.measures[at].better === "less" ? -1 : 1;
    const best = scored.reduce((best, row) => (sign * row.means[at] > sign * best.means[at] ? row : best));
    parts.push([`best ${name}`, shown(best.means[at], data.measures[at].unit), best.title]);
  }
  const seconds = data.trials.reduce((sum, trial) => sum + trial.seconds, 0);
  parts.push(["training", duration(seconds), data.trials.length === data.rows.length ? "" : `${data.trials.length} trials`]);
  byId("summary").replaceChildren(...parts.map(([name, value, more]) => element("div", {}, element("dt", {}, name), element("dd", {}, value, " ", element("small", {}, more)))));
}

function drawLegend() {
  const { items, scale } = state.colours;
  const swatch = (colour) => element("span", { class: "swatch", style: `background:${colour}` });
  const legend = byId("legend");
  if (items) {
    // A click hides what has this colour, and shows it again.
    const entry = ([text, colour, rows]) => {
      const off = rows.every((row) => state.hidden.has(row.name));
      const click = () => {
        for (const row of rows) off ? state.hidden.delete(row.name) : state.hidden.add(row.name);
        changed();
      };
      return element("button", { type: "button", "aria-pressed": String(off), title: off ? "show" : "hide", onclick: click }, swatch(colour), text);
    };
    const name = colourings().find(([value]) => value === state.colourBy)[1];
    legend.replaceChildren(...(name === "variant" ? [] : [`${name}:`]), ...items.map(entry));
  } else if (scale) {
    const stops = Array.from({ length: 9 }, (_, at) => ramp(at / 8)).join(",");
    const none = state.data.rows.some((row) => state.colours.of(row) === named("none"));
    legend.replaceChildren(`${colourings().find(([value]) => value === state.colourBy)[1]}:`, element("span", {}, scale[0]),
      element("span", { class: "ramp", style: `background:linear-gradient(to right,${stops})` }), element("span", {}, scale[1]),
      ...(none ? [swatch(named("none")), "none"] : []));
  } else legend.replaceChildren();
}

function drawImportance(data) {
  const host = byId("shares");
  if (!data.importance.length) {
    host.replaceChildren(element("p", { class: "quiet" }, "All variants are equally accurate, or none is finished."));
    return;
  }
  const short = shortKeys(data.keys);
  const rows = data.importance.map(({ key, share, says }) => {
    const bar = share === null ? null : element("span", { class: "meter" }, element("div", { class: "bar", style: `width:${100 * share}%` }));
    return element("tr", {}, element("td", { title: key }, short[data.keys.indexOf(key)] ?? key), element("td", { class: "number" }, says), element("td", {}, bar));
  });
  const words = "The share of the variance of test accuracy that each key explains alone, among all finished variants in which it varies.";
  host.replaceChildren(element("p", { class: "quiet" }, words), element("table", { id: "importance" }, element("tbody", {}, ...rows)));
}

function drawPivot(pivot) {
  byId("pivot-card").hidden = !pivot;
  if (!pivot) return;
  byId("pivot-title").textContent = `Test accuracy by ${pivot.down} and ${pivot.across}`;
  const head = element("tr", {}, element("th", {}, `${pivot.down} \\ ${pivot.across}`), ...pivot.heads.map((text) => element("th", { class: "number" }, text)));
  const rows = pivot.rows.map(([label, means]) => element("tr", {}, element("td", {}, label), ...means.map((mean) => element("td", { class: mean !== null && mean === pivot.best ? "number best" : "number" }, mean === null ? "" : shown(mean, "share")))));
  byId("pivot").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}
