// Wide tables on a narrow screen: each row becomes a card, each value with its column's name before it.
// A table that fits stays a table. Without this script a wide table scrolls inside its own box.

(() => {
  const NARROW = window.matchMedia("(max-width: 767px)");

  /** The names of a table's columns, one for each; header rows above each other are joined. */
  function columnNames(table) {
    const names = [];
    const free = []; // free[row] holds the columns that a cell from above reaches into
    [...(table.tHead?.rows ?? [])].forEach((row, level) => {
      let column = 0;
      for (const cell of row.cells) {
        while (free[level]?.has(column)) column += 1;
        const text = cell.textContent.trim();
        for (let i = 0; i < cell.colSpan; i += 1) {
          names[column + i] = [names[column + i], text].filter(Boolean).join(" ");
          for (let j = 1; j < cell.rowSpan; j += 1) (free[level + j] ??= new Set()).add(column + i);
        }
        column += cell.colSpan;
      }
    });
    return names;
  }

  /** Write each column's name into its cells, where the style sheet finds it. */
  function label(table) {
    const names = columnNames(table);
    for (const row of [...table.tBodies].flatMap((body) => [...body.rows])) {
      [...row.cells].forEach((cell, column) => {
        cell.dataset.label = names[column] ?? "";
        cell.classList.toggle("aae-empty", !cell.textContent.trim() && !cell.querySelector("img, svg"));
      });
    }
  }

  /** Stack a table that is wider than its column, and unstack it when the screen grows. */
  function fit(table) {
    table.classList.remove("aae-stacked");
    const room = table.parentElement.clientWidth;
    const regular = !table.querySelector("tbody [rowspan], tbody [colspan]");
    if (NARROW.matches && regular && table.tHead && table.scrollWidth > room + 1) {
      label(table);
      table.classList.add("aae-stacked");
    }
  }

  function fitAll() {
    document.querySelectorAll(".bd-article table").forEach(fit);
  }

  document.addEventListener("DOMContentLoaded", fitAll);
  document.addEventListener("toggle", fitAll, true); // a table that was folded away has no width
  window.addEventListener("load", fitAll);
  window.addEventListener("resize", fitAll);
})();
