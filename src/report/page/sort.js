// Sorts the table by the column whose header is clicked: numbers as numbers, empty cells last.
for (const [column, header] of [...document.querySelectorAll("#variants th")].entries()) {
  header.addEventListener("click", () => {
    const up = header.dataset.order !== "up";
    for (const other of document.querySelectorAll("#variants th")) delete other.dataset.order;
    header.dataset.order = up ? "up" : "down";
    const body = document.querySelector("#variants tbody");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const difference = Number(a) - Number(b);
      return (Number.isNaN(difference) ? a.localeCompare(b) : difference) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
  });
}
