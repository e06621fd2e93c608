// How two variants differ class by class on the test images: what one gains and loses against the other.

const byClass = { of: "", against: "" };

function classesView() {
  return { draw: drawClasses };
}

/** The two rows that are compared: as chosen, or else the most accurate one and the baseline, or the least accurate one. */
function comparedRows() {
  const rows = state.data.rows.filter((row) => row.classes);
  if (rows.length < 2) return null;
  const named = (name) => rows.find((row) => row.name === name);
  const mean = (row) => row.classes.reduce((sum, share) => sum + share, 0);
  const order = [...rows].sort((a, b) => mean(b) - mean(a));
  const of = named(byClass.of) ?? order.find((row) => row.name !== byClass.against);
  const baseline = rows.find((row) => row.baseline && row !== of);
  return { rows, of, against: named(byClass.against) ?? baseline ?? order.findLast((row) => row !== of) };
}

function drawClasses() {
  const compared = comparedRows();
  byId("classes-card").hidden = !compared;
  if (!compared) return;
  const { rows, of, against } = compared;
  if (document.activeElement?.closest("#classes-options") == null) {
    const options = rows.map((row) => [row.name, row.title]);
    const set = (side) => (name) => {
      byClass[side] = name;
      changed();
    };
    byId("classes-options").replaceChildren(choice("of", options, of.name, set("of")), choice("against", options, against.name, set("against")));
  }
  const lines = state.data.classes.map((name, at) => ({ name, own: of.classes[at], other: against.classes[at], more: of.classes[at] - against.classes[at] }));
  lines.sort((a, b) => b.more - a.more);
  const most = Math.max(...lines.map(({ more }) => Math.abs(more)), 0.01);
  const gained = lines.filter(({ more }) => more > 0).length;
  const lost = lines.filter(({ more }) => more < 0).length;
  byId("classes-note").textContent = `${gained} classes gained, ${lost} lost, ${lines.length - gained - lost} equal`;
  const row = ({ name, own, other, more }) => {
    const half = `${(50 * Math.abs(more)) / most}%`;
    const place = more < 0 ? `right:50%;width:${half};background:var(--bad)` : `left:50%;width:${half};background:var(--accent)`;
    const points = `${more < 0 ? "" : "+"}${(100 * more).toFixed(2)}`;
    const bar = element("span", { class: "both-ways" }, element("span", { style: place }));
    return element("tr", {}, element("td", {}, name), ...[shown(own, "share"), shown(other, "share"), points].map((text) => element("td", { class: "number" }, text)), element("td", {}, bar));
  };
  const head = element("tr", {}, element("th", { scope: "col" }, "class"), ...["of", "against", "points"].map((text) => element("th", { scope: "col", class: "number" }, text)), element("th"));
  byId("classes").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines.map(row))));
}
