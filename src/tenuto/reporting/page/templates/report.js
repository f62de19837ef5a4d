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

// Headings become buttons here, so that there are none without scripts.
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

// One sound of a clip is shown; radio buttons switch to another at the same position. Without scripts all are shown.
document.querySelectorAll(".sounds").forEach((list, number) => {
  const items = [...list.children];
  const choice = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = list.getAttribute("aria-label");
  choice.className = "choice";
  choice.append(legend);
  let shown = 0;
  items.forEach((item, place) => {
    const label = item.querySelector("span");
    const button = document.createElement("input");
    const words = document.createElement("label");
    Object.assign(button, { type: "radio", name: `sound-${number}`, checked: place === 0 });
    words.append(button, label.textContent);
    choice.append(words);
    label.remove();
    item.hidden = place !== 0;
    button.addEventListener("change", () => {
      const [from, to] = [items[shown], items[place]].map((each) => each.querySelector("audio"));
      const playing = !from.paused;
      to.currentTime = from.currentTime;
      from.pause();
      items[shown].hidden = true;
      item.hidden = false;
      shown = place;
      if (playing) to.play();
    });
  });
  list.before(choice);
});

// A link into a folded section unfolds it.
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  target?.querySelector(":scope > details")?.setAttribute("open", "");
};
document.querySelectorAll('a[href^="#"]').forEach((link) => link.addEventListener("click", () => setTimeout(unfold)));
addEventListener("hashchange", unfold);
unfold();

// Paper cannot be unfolded.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
