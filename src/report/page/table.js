// The table of all variants. Its rows are made once for each data and hidden by filters; the order is kept by the header's click.

const table = { column: "", up: true, rows: new Map(), made: null };

function tableView() {
  return { draw: drawTable, mark: markTable };
}

/** Columns: a name, a text for each row, and what it is sorted by. */
function columnsOf(data) {
  const columns = data.keys.map((name, at) => ({ name, short: shortKeys(data.keys)[at], text: (row) => row.labels[at] ?? "", title: (row) => String(row.values[at] ?? ""), key: (row) => row.values[at], number: data.rows.every((row) => typeof row.values[at] !== "string") }));
  if (!data.keys.length) columns.push({ name: "trial", text: (row) => row.name, key: (row) => row.name });
  data.measures.forEach((measure, at) => {
    const spread = (row) => (row.counts[at] > 1 && measure.better ? ` ± ${shown(row.deviations[at], measure.unit)}` : "");
    const text = (row) => (row.means[at] === null ? "" : shown(row.means[at], measure.unit) + spread(row));
    columns.push({ name: measure.name, text, key: (row) => row.means[at], number: true, best: (row) => row.best.includes(at) });
    if (measure.name === "test top-1" && data.compared) {
      const points = (row) => (row.baseline ? "baseline" : row.difference === null ? "" : `${row.difference < 0 ? "" : "+"}${(100 * row.difference).toFixed(2)}`);
      columns.push({ name: "vs baseline", text: points, key: (row) => row.difference, number: true });
    }
  });
  if (data.pareto) columns.push({ name: "Pareto", text: (row) => (row.front ? "front" : ""), key: (row) => (row.front ? "front" : null) });
  columns.push({ name: "state", text: (row) => row.state, title: (row) => row.state, key: (row) => row.state, long: true });
  return columns;
}

const buttonName = (button) => button.getAttribute("aria-label") ?? button.textContent;

/** The button that has the keyboard, which new data must not take from it. */
function heldButton() {
  const button = document.activeElement?.closest("#variants button");
  return button ? buttonName(button) : null;
}

function makeTable() {
  const { data } = state;
  const columns = columnsOf(data);
  const heads = columns.map((column) => {
    const button = element("button", { type: "button", title: `Sort by ${column.name}`, onclick: () => sortBy(column.name) }, column.short ?? column.name);
    return element("th", { scope: "col", class: column.number ? "number" : null, "data-column": column.name }, button);
  });
  const pinHead = element("th", { scope: "col" }, element("span", { class: "unseen" }, "hold"));
  const head = element("thead", {}, element("tr", {}, pinHead, ...heads, element("th", { scope: "col" }, "directory")));
  table.rows.clear();
  const bodies = data.groups.map(({ heading, rows }) => {
    const body = element("tbody");
    if (heading !== null) body.append(element("tr", { class: "group" }, element("td", { colspan: columns.length + 2 }, heading)));
    for (const at of rows) body.append(makeRow(data.rows[at], columns));
    return body;
  });
  const held = heldButton();
  byId("variants").replaceChildren(element("table", {}, element("caption", { class: "unseen" }, "All variants"), head, ...bodies));
  if (held) [...byId("variants").querySelectorAll("button")].find((button) => buttonName(button) === held)?.focus();
  table.made = data;
  table.columns = columns;
}

function makeRow(row, columns) {
  const swatch = element("span", { class: "swatch" });
  const button = element("button", { type: "button", class: "pin", title: "hold on to it in all drawings", "aria-label": `Hold ${row.title}`, onclick: () => pin(row) }, swatch);
  const cells = columns.map((column) => {
    const kind = [column.number ? "number" : null, column.long ? "long" : null, column.best?.(row) ? "best" : null].filter(Boolean).join(" ");
    const key = column.key(row);
    return element("td", { class: kind || null, "data-value": key ?? "", title: column.title?.(row) }, column.text(row));
  });
  const links = row.trials.map((number) => {
    const trial = state.data.trials[number];
    const text = row.trials.length === 1 ? trial.name : (trial.seed === null ? trial.name : `seed ${trial.seed}`);
    return element("a", { href: trial.href, title: trial.name }, text);
  });
  const links_apart = links.flatMap((link, at) => (at ? [", ", link] : [link]));
  const made = element("tr", {}, element("td", {}, button), ...cells, element("td", {}, ...links_apart));
  made.addEventListener("pointerenter", () => hover(row));
  made.addEventListener("pointerleave", () => hover(null));
  table.rows.set(row, { made, swatch, button });
  return made;
}

function sortBy(name) {
  table.up = table.column === name ? !table.up : true;
  table.column = name;
  changed();
}

/** Numbers as numbers, what is missing last. */
function compareBy(key, up) {
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return up ? order : -order;
  };
}

function drawTable() {
  if (table.made !== state.data) makeTable();
  const passing = new Set(state.rows);
  for (const [row, { made, swatch }] of table.rows) {
    made.hidden = !passing.has(row);
    swatch.style.background = state.colours.of(row);
  }
  const column = table.columns.find((column) => column.name === table.column);
  for (const head of byId("variants").querySelectorAll("th[data-column]")) {
    if (head.dataset.column === column?.name) head.setAttribute("aria-sort", table.up ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  if (!column) return;
  const bodies = [...byId("variants").querySelectorAll("tbody")];
  state.data.groups.forEach(({ rows }, at) => {
    const sorted = rows.map((row) => state.data.rows[row]).sort(compareBy(column.key, table.up));
    bodies[at].append(...sorted.map((row) => table.rows.get(row).made));
  });
}

function markTable() {
  for (const [row, { made, button }] of table.rows) {
    made.classList.toggle("hovered", row === state.hovered);
    made.classList.toggle("pinned", state.pinned.has(row.name));
    button.setAttribute("aria-pressed", state.pinned.has(row.name));
  }
}
