"use strict";

const key = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.sort ?? cell.textContent.trim();
};

const compare = (a, b) => {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
};

const sort = (table, headings, column) => {
  const rising = headings[column].getAttribute("aria-sort") !== "ascending";
  const rows = [...table.tBodies[0].rows];
  const missing = (row) => key(row, column) === "–";
  rows.sort((a, b) => missing(a) - missing(b) || (rising ? 1 : -1) * compare(key(a, column), key(b, column)));
  table.tBodies[0].append(...rows);
  headings.forEach((heading) => heading.setAttribute("aria-sort", "none"));
  headings[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
};

// Headings become buttons here, so that a reader without scripts meets none that do nothing.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, headings, column));
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  });
}

// One sound at a time.
const sounds = [...document.querySelectorAll("audio")];
for (const sound of sounds) {
  sound.addEventListener("play", () => sounds.filter((other) => other !== sound).forEach((other) => other.pause()));
}

// Paper cannot be unfolded.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
