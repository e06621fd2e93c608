// What accuracy costs: a point for each variant, and the front of those that no other beats in both.

const scatter = { up: "", across: "", log: true, chosen: {}, points: [] };

/** The options above the points. What was not chosen follows what there is. */
function scatterOptions() {
  const { measures } = state.data;
  const has = (name) => state.data.rows.some((row) => row.means[measures.findIndex((measure) => measure.name === name)] != null);
  scatter.up = scatter.chosen.up ?? [...ownMetric(), "test top-1", "val top-1"].find(has) ?? "test top-1";
  scatter.across = scatter.chosen.across ?? state.data.pareto ?? ["time", "memory", "params"].find(has) ?? "params";
  const set = (name) => (value) => {
    scatter[name] = scatter.chosen[name] = value;
    changed();
  };
  const names = measures.map(({ name }) => [name, name]);
  byId("scatter-options").replaceChildren(
    choice("of", names, scatter.up, set("up")),
    choice("against", names, scatter.across, set("across")),
    check("log x", scatter.log, set("log")),
  );
}

function scatterView() {
  scatterOptions();
  const label = "Variants by accuracy and cost, with the Pareto front. Arrow keys go through the variants.";
  const chart = new Chart(byId("scatter"), { label, height: 340 });
  chart.onPointer((place, event) => pointAtDot(place, event));
  chart.host.addEventListener("click", () => state.hovered && pin(state.hovered));
  chart.host.addEventListener("keydown", (event) => dotKeys(chart, event));
  return { draw: () => drawScatter(chart), mark: () => markScatter(chart) };
}

const measureAt = (name) => state.data.measures.findIndex((measure) => measure.name === name);

/** The points that none is at least as good as in both, and better in one; in order of cost. */
function frontOf(points, moreUp, moreAcross) {
  const better = (a, b, more) => (more ? a > b : a < b);
  const order = [...points].sort((a, b) => (moreAcross ? b.cost - a.cost : a.cost - b.cost) || (moreUp ? b.value - a.value : a.value - b.value));
  const front = [];
  for (const point of order) if (!front.length || better(point.value, front.at(-1).value, moreUp)) front.push(point);
  return front;
}

function drawScatter(chart) {
  const pen = chart.clear(chart.base);
  const [up, across] = [measureAt(scatter.up), measureAt(scatter.across)];
  const { measures } = state.data;
  scatter.points = [];
  const there = state.rows.filter((row) => row.means[up] != null && row.means[across] != null);
  const values = numberScale(there.map((row) => row.means[up]), { unit: measures[up].unit, margin: 0.07 });
  const costs = numberScale(there.map((row) => row.means[across]), { log: scatter.log, unit: measures[across].unit, margin: 0.05 });
  const note = byId("scatter-note");
  note.replaceChildren();
  if (!values || !costs) return chart.empty(state.rows.length ? "No variant has both figures yet." : "No variant passes the filters.");
  chart.axes(costs, values, scatter.across, scatter.up);
  scatter.points = there
    .filter((row) => !scatter.log || row.means[across] > 0)
    .map((row) => {
      const [value, cost] = [row.means[up], row.means[across]];
      return { row, value, cost, deviation: row.deviations[up], x: chart.x(costs.share(cost)), y: chart.y(values.share(value)) };
    });
  // Without a better and a worse, less is cheaper.
  scatter.front = frontOf(scatter.points, measures[up].better !== "less", measures[across].better === "more");
  pen.strokeStyle = named("quiet");
  pen.lineWidth = 1.4;
  pen.setLineDash([5, 4]);
  const steps = scatter.front.flatMap((point, at) => (at ? [[point.x, scatter.front[at - 1].y], [point.x, point.y]] : [[point.x, point.y]]));
  stroke(pen, steps);
  pen.setLineDash([]);
  for (const point of scatter.points) {
    const colour = state.colours.of(point.row);
    pen.globalAlpha = 0.55;
    if (point.deviation) {
      pen.strokeStyle = colour;
      const reach = (side) => chart.y(values.share(point.value + side * point.deviation));
      stroke(pen, [[point.x, reach(-1)], [point.x, reach(1)]]);
    }
    pen.globalAlpha = 0.9;
    const radius = scatter.points.length > 100 ? 3.5 : 5;
    if (scatter.front.includes(point)) rimmedDot(pen, point.x, point.y, radius + 1.5, colour);
    pen.fillStyle = colour;
    dot(pen, point.x, point.y, radius);
  }
  pen.globalAlpha = 1;
  const count = scatter.front.length;
  note.append(element("span", { class: "dash" }), `Pareto front: ${count} of ${scatter.points.length} variants, which no other beats in both`);
}

function markScatter(chart) {
  const pen = chart.clear(chart.over);
  const rows = marked();
  chart.base.style.opacity = rows.length ? 0.55 : 1;
  for (const row of rows) {
    const point = scatter.points.find((point) => point.row === row);
    if (point) rimmedDot(pen, point.x, point.y, 7, state.colours.of(row));
  }
}

function dotLines({ row, value, cost, deviation }) {
  const { measures } = state.data;
  const [up, across] = [measures[measureAt(scatter.up)], measures[measureAt(scatter.across)]];
  const spread = deviation ? ` ± ${shown(deviation, up.unit)}` : "";
  return [`${up.name} ${shown(value, up.unit)}${spread}`, `${across.name} ${shown(cost, across.unit)}`, ...(scatter.front.some((point) => point.row === row) ? ["on the Pareto front"] : [])];
}

function pointAtDot(place, event) {
  let [best, found] = [24 ** 2, null];
  for (const point of place ? scatter.points : []) {
    const distance = (point.x - place.x) ** 2 + (point.y - place.y) ** 2;
    if (distance < best) [best, found] = [distance, point];
  }
  hover(found?.row ?? null);
  if (found) showTip(event.clientX, event.clientY, found.row.title, dotLines(found));
  else hideTip();
}

function dotKeys(chart, event) {
  const direction = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
  if (event.key === "Enter" && state.hovered) pin(state.hovered);
  if (!direction) return;
  event.preventDefault();
  const point = scatter.points.find((point) => point.row === step(direction));
  if (!point) return hideTip();
  const box = chart.host.getBoundingClientRect();
  showTip(box.left + point.x, box.top + point.y, point.row.title, dotLines(point));
  say([point.row.title, ...dotLines(point)].join(", "));
}
