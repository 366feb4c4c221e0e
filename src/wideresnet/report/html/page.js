// Optional, the page reads without it: tables sort by a column, images and cells of a matrix open in a dialog.
(() => {
  const make = (tag, parent, text = "") => {
    const node = parent.appendChild(document.createElement(tag));
    node.textContent = text;
    return node;
  };
  const dialog = make("dialog", document.body), bar = make("form", dialog), content = make("div", dialog);
  bar.method = "dialog";
  const title = make("b", bar), close = make("button", bar, "×");
  close.setAttribute("aria-label", "Close");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  const open = (heading, node) => {
    title.textContent = heading;
    content.replaceChildren(node);
    watch(content);
    if (!dialog.open) dialog.showModal();
  };
  const enlarge = (image) => {
    const figure = image.closest("li").cloneNode(true), large = figure.querySelector("img");
    const heading = figure.querySelector("b");
    heading.remove();
    figure.className = "large";
    large.removeAttribute("tabindex");
    open(heading.textContent, figure);
  };
  const watch = (root) => {
    for (const image of root.querySelectorAll(".gallery img")) {
      image.tabIndex = 0;
      image.setAttribute("role", "button");
      image.addEventListener("click", () => enlarge(image));
      image.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(image); }
      });
    }
  };
  watch(document);

  for (const link of document.querySelectorAll('a[href^="#pair-"]')) {
    const pair = document.getElementById(link.hash.slice(1));
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const copy = pair.cloneNode(true);
      copy.removeAttribute("id");
      open(pair.parentElement.querySelector("summary").textContent, copy);
    });
  }

  const number = (cell) => parseFloat(cell.textContent.replace(/,/g, "").replace("−", "-"));
  for (const table of document.querySelectorAll("table:not(.heat)")) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    if (body.rows.length < 3) continue;
    for (const head of heads.filter((cell) => cell.textContent)) {
      const column = head.cellIndex, numeric = head.classList.contains("right");
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
        for (const cell of heads) cell.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const key = (row) => (numeric ? number(row.cells[column]) : row.cells[column].textContent);
        const rows = [...body.rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => {
          if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
          return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b) || 0;
        });
        body.append(...rows.map(([, row]) => row));
      });
    }
  }
})();
