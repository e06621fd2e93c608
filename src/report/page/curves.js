// The curves of all trials: any figure of an epoch, by epoch or by time.

const curves = { metric: "", byTime: false, logAcross: false, logUp: false, both: false, lines: [] };

/** The place of the same figure of the training images, for one of the validation images. */
function trainingOf(metric) {
  const { metrics } = state.data;
  return metric.startsWith("validation ") ? metrics.findIndex(({ name }) => name === `training ${metric.slice(11)}`) : -1;
}

/** The options above the curves, which follow what there is. */
function curvesOptions() {
  const { metrics } = state.data;
  curves.metric ||= [state.data.metric.curve, "validation accuracy", "training accuracy"].find((name) => metrics.some((metric) => metric.name === name)) ?? metrics[0]?.name ?? "";
  const set = (name) => (value) => {
    curves[name] = value;
    changed();
  };
  byId("curves-options").replaceChildren(
    choice("of", metrics.map(({ name }) => [name, name]), curves.metric, set("metric")),
    choice("by", [["epoch", "epoch"], ["time", "time"]], curves.byTime ? "time" : "epoch", (value) => set("byTime")(value === "time")),
    check("log y", curves.logUp, set("logUp")),
    check("log x", curves.logAcross, set("logAcross")),
    check("training, dashed", curves.both, set("both")),
  );
}

function curvesView() {
  curvesOptions();
  const chart = new Chart(byId("curves"), { label: "Curves of all trials. Arrow keys up and down go through the variants.", height: 380 });
  chart.onPointer((place, event) => pointAtCurve(chart, place, event));
  chart.host.addEventListener("click", () => state.hovered && pin(state.hovered));
  chart.host.addEventListener("keydown", (event) => curveKeys(chart, event));
  return { draw: () => drawCurves(chart), mark: () => markCurves(chart) };
}

/** The points of a trial, in its own numbers. */
function pointsOf(trial, metric, byTime) {
  let time = 0;
  const seconds = state.data.metrics.findIndex(({ name }) => name === "seconds");
  return trial.epochs.map((epoch, at) => {
    time += epoch[seconds] ?? 0;
    return [byTime ? time : at + 1, epoch[metric]];
  });
}

function drawCurves(chart) {
  const pen = chart.clear(chart.base);
  const { metrics, trials } = state.data;
  const at = metrics.findIndex(({ name }) => name === curves.metric);
  curves.lines = [];
  if (at < 0) return chart.empty("No epoch is finished yet.");
  const training = curves.both ? trainingOf(curves.metric) : -1;
  const raw = [];
  for (const row of state.rows) {
    for (const number of row.trials) {
      const trial = trials[number];
      raw.push({ row, trial, dashed: false, points: pointsOf(trial, at, curves.byTime) });
      if (training >= 0) raw.push({ row, trial, dashed: true, points: pointsOf(trial, training, curves.byTime) });
    }
  }
  const all = (part) => raw.flatMap(({ points }) => points.filter((point) => point[1] !== null).map((point) => point[part]));
  const across = numberScale(all(0), { log: curves.logAcross, unit: curves.byTime ? "seconds" : "whole", margin: 0 });
  const up = numberScale(all(1), { log: curves.logUp, unit: metrics[at].unit, margin: 0.05 });
  if (!across || !up) return chart.empty(state.rows.length ? "No epoch is finished yet." : "No variant passes the filters.");
  chart.axes(across, up, curves.byTime ? "time" : "epoch", curves.metric);
  const visible = ([x, y]) => y !== null && Number.isFinite(y) && (!curves.logUp || y > 0) && (!curves.logAcross || x > 0);
  curves.lines = raw.map((line) => {
    const kept = line.points.filter(visible);
    return { ...line, kept, drawn: kept.map(([x, y]) => [chart.x(across.share(x)), chart.y(up.share(y))]) };
  });
  pen.globalAlpha = strength(curves.lines.length);
  pen.lineWidth = curves.lines.length > 60 ? 1 : 1.8;
  for (const line of curves.lines) drawLine(pen, line, state.colours.of(line.row));
  pen.globalAlpha = 1;
}

function drawLine(pen, { drawn, dashed }, colour) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.setLineDash(dashed ? [5, 4] : []);
  // A line needs two points: a single one is a dot.
  if (drawn.length === 1) dot(pen, ...drawn[0], 3.5);
  else stroke(pen, drawn);
  pen.setLineDash([]);
}

function markCurves(chart) {
  const pen = chart.clear(chart.over);
  const rows = marked();
  chart.base.style.opacity = rows.length ? 0.35 : 1;
  pen.lineWidth = 3;
  for (const row of rows) {
    for (const line of curves.lines) if (line.row === row) drawLine(pen, line, state.colours.of(row));
  }
  const point = curves.point;
  if (point && point.line.row === state.hovered) rimmedDot(pen, ...point.line.drawn[point.at], 5, state.colours.of(point.line.row));
}

/** The point nearest to a place, within reach. */
function nearestPoint(x, y, reach = 40) {
  let [best, found] = [reach * reach, null];
  for (const line of curves.lines) {
    line.drawn.forEach(([px, py], at) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best) [best, found] = [distance, { line, at }];
    });
  }
  return found;
}

function pointLines({ line, at }) {
  const [x, y] = line.kept[at];
  const unit = state.data.metrics.find(({ name }) => name === curves.metric).unit;
  const figure = line.dashed ? curves.metric.replace("validation ", "training ") : curves.metric;
  const where = curves.byTime ? `after ${duration(x)}` : `epoch ${x}`;
  return [`${figure} ${shown(y, unit)}`, where, ...(line.row.trials.length > 1 ? [`trial ${line.trial.name}`] : [])];
}

function pointAtCurve(chart, place, event) {
  curves.point = place && nearestPoint(place.x, place.y);
  const row = curves.point?.line.row ?? null;
  if (row === state.hovered) markCurves(chart);
  else hover(row);
  if (row) showTip(event.clientX, event.clientY, row.title, pointLines(curves.point));
  else hideTip();
}

function curveKeys(chart, event) {
  const vertical = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Enter" && state.hovered) pin(state.hovered);
  if (!vertical && !sideways) return;
  event.preventDefault();
  const row = vertical || !state.hovered ? step(vertical ?? 1) : state.hovered;
  const line = curves.lines.find((line) => line.row === row && line.drawn.length);
  if (!line) return;
  const last = line.drawn.length - 1;
  const at = sideways && curves.point?.line === line ? Math.min(Math.max(curves.point.at + sideways, 0), last) : last;
  curves.point = { line, at };
  markCurves(chart);
  const box = chart.host.getBoundingClientRect();
  showTip(box.left + line.drawn[at][0], box.top + line.drawn[at][1], row.title, pointLines(curves.point));
  say([row.title, ...pointLines(curves.point)].join(", "));
}
