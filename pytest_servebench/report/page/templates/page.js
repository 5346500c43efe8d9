"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  /* theme */
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const say = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  say();
  dark.addEventListener("change", say);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("servebench-theme", root.dataset.theme); } catch { /* not kept */ }
    say();
  });

  /* rows of classes of requests, which stay below their case's */
  const partsOf = (row) => {
    const found = [];
    for (let one = row.nextElementSibling; one?.matches(".part"); one = one.nextElementSibling) found.push(one);
    return found;
  };

  /* sorting: a third press brings the first order back */
  const number = (text) => (text === "" ? NaN : text === "inf" ? Infinity : Number(text));
  const compare = (a, b, way) => {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) && Number.isNaN(y)) {
      return a === "" || b === "" ? (a === "") - (b === "") : way * a.localeCompare(b);
    }
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return x === y ? 0 : way * (x < y ? -1 : 1);
  };
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0];
    const first = [...body.rows].filter((row) => !row.matches(".part"));
    const parts = new Map(first.map((row) => [row, partsOf(row)]));
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const press = document.createElement("button");
      press.type = "button";
      press.className = "sort";
      press.append(...head.childNodes);
      head.append(press);
      press.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = { ascending: "descending", descending: null }[now] ?? (now ? null : "ascending");
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        const way = next === "descending" ? -1 : 1;
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
        const rows = next ? [...first].sort((a, b) => compare(key(a), key(b), way)) : first;
        body.append(...rows.flatMap((row) => [row, ...parts.get(row)]));
      });
    });
  }

  /* filters: of the table, the matrix, the drill-downs and the servers' curves at once */
  const form = document.getElementById("filters");
  if (form) {
    const rows = all("tr[data-case]");
    const parts = new Map(rows.map((row) => [row, partsOf(row)]));
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const cells = all("a.cell");
    const curves = all('#sweeps .chart [class*=" k"]');
    const details = (name) => document.getElementById(name);
    const apply = () => {
      const wanted = new FormData(form);
      const text = (wanted.get("text") ?? "").trim().toLowerCase();
      const shown = new Set();
      for (const row of rows) {
        const fits = ["server", "rate", "buffer", "rows", "verdict"].every(
          (name) => !wanted.get(name) || row.dataset[name] === wanted.get(name),
        ) && (!text || texts.get(row).includes(text));
        for (const one of [row, ...parts.get(row)]) one.hidden = !fits;
        const drill = details(row.dataset.case);
        if (drill) drill.hidden = !fits;
        if (fits) shown.add(row.dataset.case);
      }
      const server = wanted.get("server");
      for (const one of curves) {
        one.classList.toggle("dim", !!server && !one.matches(`[class*=" ${server}b"]`));
      }
      for (const cell of cells) cell.classList.toggle("dim", !shown.has(cell.hash.slice(1)));
      form.querySelector("output").textContent = `${shown.size} of ${rows.length} cases`;
      document.getElementById("nothing").hidden = shown.size > 0;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
    apply();
  }

  /* drill-downs: a link opens the one that it points to */
  const drills = all("#drill details.case");  // probes open one by one
  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.matches("details.case")) return;
    if (target.hidden) form?.reset();
    target.hidden = false;
    for (let one = target; one; one = one.parentElement?.closest("details")) one.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  follow();
  for (const link of all('a[href^="#case-"]')) {
    link.addEventListener("click", () => { if (link.hash === location.hash) follow(); });
  }
  for (const press of all("button[data-open]")) {
    press.hidden = false;
    press.addEventListener("click", () => {
      for (const one of drills) one.open = press.dataset.open === "true";
    });
  }

  /* paper shows everything */
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = drills.filter((one) => !one.open);
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
})();
