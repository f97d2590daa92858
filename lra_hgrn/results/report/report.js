"use strict";

// A click or Enter on a head sorts its table, each group of rows by itself: up, down, and as it was.
const compared = (one, other, numeric) =>
  numeric ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true });

function sort(table, head, column) {
  const numeric = head.hasAttribute("data-numeric");
  const orders = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  const order = orders[orders.indexOf(head.getAttribute("aria-sort")) + 1]; // undefined after the last: as it was
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  if (order) head.setAttribute("aria-sort", order);
  const key = (row) => (numeric ? row.cells[column].dataset.sort ?? "" : row.cells[column].textContent.trim());
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("heading"));
    rows.forEach((row, place) => (row.dataset.place ??= place));
    rows.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (order && (a === "") !== (b === "")) return a === "" ? 1 : -1; // what is missing stands last either way
      const found = order && a !== "" ? compared(a, b, numeric) * (order === "ascending" ? 1 : -1) : 0;
      return found || one.dataset.place - other.dataset.place;
    });
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.tabIndex = 0; // no button inside: browsers do not print one again at the top of each page
    head.addEventListener("click", () => sort(table, head, column));
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort(table, head, column));
  });
}

// A link to a record opens it.
function reveal() {
  const target = document.querySelector(":target");
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target?.scrollIntoView();
}
for (const moment of ["load", "hashchange"]) addEventListener(moment, reveal);
document.addEventListener("click", (event) => event.target.closest('a[href^="#"]') && setTimeout(reveal));
