// Sorts a table by the column whose header is clicked: numbers as numbers, empty cells last.
for (const table of document.querySelectorAll("#variants table")) {
  for (const [column, header] of [...table.tHead.rows[0].cells].entries()) {
    header.addEventListener("click", () => {
      const up = header.dataset.order !== "up";
      for (const other of table.tHead.rows[0].cells) delete other.dataset.order;
      header.dataset.order = up ? "up" : "down";
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const difference = Number(a) - Number(b);
        return (Number.isNaN(difference) ? a.localeCompare(b) : difference) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  }
}
