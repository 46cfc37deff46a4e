
"use strict";
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  const number = (row, column) => Number(row.cells[column].dataset.value);
  const words = (row, column) => row.cells[column].textContent.trim();
  const compare = (a, b, column, sign) => {
    if (a.cells[column].dataset.value === undefined) return sign * words(a, column).localeCompare(words(b, column));
    const [left, right] = [number(a, column), number(b, column)];
    const unmeasured = Number.isNaN(left) - Number.isNaN(right);
    return unmeasured || sign * (left - right) || 0;
  };
  heads.forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => compare(a, b, column, sign)));
    });
  });
}
