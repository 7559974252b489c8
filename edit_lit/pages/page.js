"use strict";
// Tables that can be sorted by a click on a column's name, and searched.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const order = (row, column) => row.cells[column].dataset.order ?? row.cells[column].textContent;
  const compare = (first, second) => {
    // Numbers with what stands behind them, such as an interval, by their value.
    const [a, b] = [parseFloat(first), parseFloat(second)];
    return Number.isNaN(a) || Number.isNaN(b) ? first.localeCompare(second) : a - b;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => (down ? -1 : 1) * compare(order(a, column), order(b, column)));
      body.append(...rows);
    });
  });
  if (rows.length < 8) continue; // A glance is faster than a search.
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Show rows with these words";
  search.setAttribute("aria-label", search.placeholder);
  const count = document.createElement("span");
  const line = document.createElement("div");
  line.className = "search";
  line.append(search, " ", count);
  table.parentElement.before(line);
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  search.addEventListener("input", show);
  show();
}
