// Parallel coordinates: an axis for each key, for cost and for accuracy, and a line through them for each variant. Dragging
// along an axis keeps the variants that pass there.

const coordinates = { axes: [], lines: [], drag: null };

function coordinatesView() {
  const label = "Parallel coordinates of all variants. Each axis has a filter, which the arrow keys move.";
  const chart = new Chart(byId("coordinates"), { label, height: 400, left: 60, right: 96, top: 44, bottom: 44 });
  chart.host.removeAttribute("tabindex");
  chart.host.setAttribute("role", "group");
  chart.onPointer((place, event) => pointAtLine(chart, place, event));
  chart.host.addEventListener("click", (event) => event.target.classList.contains("axis") || (state.hovered && pin(state.hovered)));
  return { draw: () => drawCoordinates(chart), mark: () => markCoordinates(chart) };
}

function drawCoordinates(chart) {
  const pen = chart.clear(chart.base);
  const { data } = state;
  const axes = axesOf(data);
  if (!data.keys.length) {
    chart.host.style.height = "4rem";
    chart.height = 64;
    return chart.empty("Nothing was varied.");
  }
  const all = axes.map((axis) => {
    const values = data.rows.map((row) => valueOn(row, axis));
    const unit = axis.measure === undefined ? null : data.measures[axis.measure].unit;
    const labels = axis.measure === undefined ? data.rows.map((row) => row.labels[axis.key]) : values;
    return { ...axis, ...placeAxis(values, unit, labels), unit, missing: values.includes(null) };
  });
  all.forEach((axis, at) => (axis.x = chart.x(all.length > 1 ? at / (all.length - 1) : 0.5)));
  coordinates.axes = all;
  // A trial without a result has no line, except as far as it is known.
  const line = (row) => ({ row, points: all.map((axis) => [axis.x, chart.y(axis.place(valueOn(row, axis)))]) });
  // What has no colour lies below what has one.
  const none = named("none");
  coordinates.lines = [...state.rows].sort((a, b) => (state.colours.of(b) === none) - (state.colours.of(a) === none)).map(line);
  pen.globalAlpha = strength(coordinates.lines.length);
  pen.lineWidth = coordinates.lines.length > 60 ? 1 : 1.8;
  for (const { row, points } of coordinates.lines) {
    pen.strokeStyle = state.colours.of(row);
    stroke(pen, points);
  }
  pen.globalAlpha = 1;
  coordinates.room = (chart.width - chart.margin.left - chart.margin.right) / Math.max(1, all.length - 1);
  placeHandles(chart, coordinates.room);
}

/** A text that fits into so many pixels; of a dotted key, its last word. */
function fitting(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let short = text.split(".").at(-1);
  while (short.length > 3 && pen.measureText(`${short}…`).width > width) short = short.slice(0, -1);
  return short === text.split(".").at(-1) && pen.measureText(short).width <= width ? short : `${short}…`;
}

function drawAxis(chart, pen, axis, room) {
  const [x, low, high] = [Math.round(axis.x) + 0.5, chart.y(0), chart.y(1)];
  pen.lineWidth = 1;
  pen.strokeStyle = named("axis");
  stroke(pen, [[x, low], [x, high]]);
  pen.fillStyle = named("text");
  pen.textBaseline = "alphabetic";
  pen.textAlign = "center";
  pen.font = "600 12px system-ui, sans-serif";
  pen.fillText(fitting(pen, axis.name, Math.min(room - 8, 150)), x, high - 18);
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  const taken = [];
  const ticks = axis.ticks(8);
  const ends = [ticks[0], ticks.at(-1)].filter(Boolean);
  // The ends first, then what has room between them.
  for (const [share, text] of [...ends, ...ticks, ...(axis.missing ? [[APART, axis.key === undefined ? "none" : "not varied"]] : [])]) {
    const y = chart.y(share);
    if (taken.some((other) => Math.abs(other - y) < 14)) continue;
    taken.push(y);
    const shortened = fitting(pen, String(text), room - 14);
    // A ground of its own, for lines run behind it.
    pen.fillStyle = named("card");
    pen.globalAlpha = 0.8;
    pen.fillRect(x + 5, y - 8, pen.measureText(shortened).width + 4, 16);
    pen.globalAlpha = 1;
    pen.fillStyle = named("quiet");
    pen.fillText(shortened, x + 7, y);
  }
}

function markCoordinates(chart) {
  const pen = chart.clear(chart.over);
  const rows = marked();
  chart.base.style.opacity = rows.length ? 0.4 : 1;
  pen.lineWidth = 3;
  for (const row of rows) {
    const line = coordinates.lines.find((line) => line.row === row);
    if (!line) continue;
    pen.strokeStyle = state.colours.of(row);
    stroke(pen, line.points);
  }
  const accent = named("accent");
  for (const axis of coordinates.axes) drawAxis(chart, pen, axis, coordinates.room);
  for (const axis of coordinates.axes) {
    const brush = state.brushes.get(axis.name);
    if (!brush) continue;
    const [low, high] = brushShares(axis, brush);
    const [top, height] = [chart.y(high), Math.max(chart.y(low) - chart.y(high), 4)];
    pen.fillStyle = accent;
    pen.globalAlpha = 0.22;
    pen.fillRect(axis.x - 10, top, 20, height);
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.strokeStyle = accent;
    pen.strokeRect(axis.x - 10, top, 20, height);
  }
}

/** Where a brush lies on its axis, with some room around single values. */
function brushShares(axis, brush) {
  if (!brush.values) return [axis.place(brush.low), axis.place(brush.high)];
  // As it was drawn, as long as the values stand where they stood.
  if (brush.drawn) return brush.drawn;
  const places = brush.values.map((value) => axis.place(value)).filter((place) => place >= 0);
  const [low, high] = extent(places) ?? [0, 0];
  return [low - 0.03, high + 0.03];
}

/** Keeps what passes between two shares of an axis. */
function brushAxis(axis, a, b) {
  const [low, high] = [Math.min(a, b), Math.max(a, b)];
  if (axis.numeric) {
    state.brushes.set(axis.name, { low: axis.value(low - 1e-9), high: axis.value(high + 1e-9) });
  } else {
    const values = axis.order.filter((value) => axis.place(value) >= low && axis.place(value) <= high);
    state.brushes.set(axis.name, { values, drawn: [low, high] });
  }
  changed();
}

function unbrush(axis) {
  state.brushes.delete(axis.name);
  changed();
}

/** One element for each axis takes the pointer and the keys. They stay as they are while a pointer drags. */
function placeHandles(chart, room) {
  const handles = [...chart.host.querySelectorAll(".axis")];
  const names = coordinates.axes.map((axis) => axis.name);
  if (handles.map((handle) => handle.dataset.axis).join("\n") !== names.join("\n")) {
    handles.forEach((handle) => handle.remove());
    handles.length = 0;
    for (const name of names) {
      const handle = element("div", { class: "axis", tabindex: "0", role: "slider", "aria-orientation": "vertical", "aria-label": `Filter by ${name}`, title: name });
      handle.dataset.axis = name;
      listenToHandle(chart, handle);
      handles.push(handle);
      chart.host.append(handle);
    }
  }
  handles.forEach((handle, at) => {
    const axis = coordinates.axes[at];
    const wide = Math.min(36, room - 4);
    handle.style.cssText = `left:${axis.x - wide / 2}px;width:${wide}px;top:${chart.y(1) - 12}px;height:${chart.y(0) - chart.y(1) + 24}px`;
    const brush = state.brushes.get(axis.name);
    const [low, high] = brush ? brushShares(axis, brush) : [0, 1];
    const now = { "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(50 * (low + high)), "aria-valuetext": brush ? brushText(axis, brush) : "all" };
    for (const [name, value] of Object.entries(now)) handle.setAttribute(name, value);
  });
}

function brushText(axis, brush) {
  if (brush.values) return brush.values.join(", ") || "none";
  return `${ticked(brush.low, axis.unit)} to ${ticked(brush.high, axis.unit)}`;
}

function listenToHandle(chart, handle) {
  const axis = () => coordinates.axes.find((axis) => axis.name === handle.dataset.axis);
  const share = (event) => {
    const y = event.clientY - chart.host.getBoundingClientRect().top;
    return Math.min(Math.max((chart.y(0) - y) / (chart.y(0) - chart.y(1)), 0), 1);
  };
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    coordinates.drag = share(event);
    hideTip();
  });
  handle.addEventListener("pointermove", (event) => {
    if (coordinates.drag === null) return;
    event.stopPropagation();
    if (Math.abs(share(event) - coordinates.drag) > 0.01) brushAxis(axis(), coordinates.drag, share(event));
  });
  handle.addEventListener("pointerup", (event) => {
    // A click without a drag lets go of the filter.
    if (coordinates.drag !== null && Math.abs(share(event) - coordinates.drag) <= 0.01) unbrush(axis());
    coordinates.drag = null;
  });
  handle.addEventListener("pointercancel", () => (coordinates.drag = null));
  handle.addEventListener("keydown", (event) => {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (["Escape", "Delete", "Backspace"].includes(event.key)) return unbrush(axis());
    if (!direction) return;
    event.preventDefault();
    const brush = state.brushes.get(axis().name);
    const [low, high] = brush ? brushShares(axis(), brush) : [0, 1];
    // With Shift the upper end moves, without the lower one; the first press makes the filter.
    const by = 0.05 * direction;
    if (event.shiftKey) brushAxis(axis(), low, Math.min(1, Math.max(low, high + by)));
    else brushAxis(axis(), Math.max(0, Math.min(high, low + by)), high);
  });
}

function pointAtLine(chart, place, event) {
  if (coordinates.drag !== null) return;
  let [best, found] = [14, null];
  const { axes } = coordinates;
  const at = place ? axes.findIndex((axis, at) => at + 1 < axes.length && place.x >= axis.x && place.x <= axes[at + 1].x) : -1;
  if (at >= 0) {
    const part = (place.x - axes[at].x) / (axes[at + 1].x - axes[at].x);
    for (const line of coordinates.lines) {
      const y = line.points[at][1] + part * (line.points[at + 1][1] - line.points[at][1]);
      if (Math.abs(y - place.y) < best) [best, found] = [Math.abs(y - place.y), line];
    }
  }
  hover(found?.row ?? null);
  if (found) showTip(event.clientX, event.clientY, found.row.title, rowLines(found.row));
  else hideTip();
}

/** What there is to say of a row in short. */
function rowLines(row) {
  const told = ["test top-1", "val top-1", "time", "params"].map(measureAt).filter((at) => at >= 0 && row.means[at] !== null);
  return [...told.map((at) => `${state.data.measures[at].name} ${shown(row.means[at], state.data.measures[at].unit)}`), row.state];
}
