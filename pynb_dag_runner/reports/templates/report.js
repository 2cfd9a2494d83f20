"use strict";
(function () {
  // In MLflow's viewer the page is a blob: no file lies beside it, and its frame opens no other page.
  if (location.protocol !== "blob:") return;
  document.getElementById("viewer").hidden = false;
  document.querySelectorAll("a[href]:not([href^='#'])").forEach((link) => link.removeAttribute("href"));
})();
(function () {
  const table = document.getElementById("tasks");
  if (!table) return;
  const bodies = Array.from(table.tBodies);
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const chips = Array.from(document.querySelectorAll(".chip"));
  const names = bodies.map((body) => body.querySelector(".task").textContent.toLowerCase());

  function apply() {
    const text = filter.value.trim().toLowerCase();
    const states = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.value);
    let number = 0;
    bodies.forEach((body, index) => {
      const fits = names[index].includes(text) && (!states.length || states.includes(body.dataset.state));
      body.hidden = !fits;
      if (fits) number += 1;
    });
    shown.textContent = number === bodies.length ? "" : number + " of " + bodies.length + " shown";
  }

  function key(body, column) {
    const cell = body.rows[0].cells[column];
    if (cell.dataset.v === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.v === "" ? -1 : Number(cell.dataset.v);
  }

  function sort(heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    const column = heading.cellIndex;
    const keyed = bodies.map((body, index) => [key(body, column), index, body]);
    keyed.sort((one, other) => {
      const order = one[0] < other[0] ? -1 : one[0] > other[0] ? 1 : 0;
      return (down ? -order : order) || one[1] - other[1];
    });
    table.append(...keyed.map((entry) => entry[2]));
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  filter.addEventListener("input", apply);
  chips.forEach((chip) => {
    chip.disabled = false;
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  });
  table.querySelectorAll("th button").forEach((button) => {
    button.disabled = false;
    button.addEventListener("click", () => sort(button.parentElement));
  });
  // A link from a picture to a task that is filtered away shows it again.
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      filter.value = "";
      chips.forEach((chip) => chip.setAttribute("aria-pressed", "false"));
      apply();
      target.scrollIntoView();
    }
  });
  document.getElementById("search").hidden = false;
})();
