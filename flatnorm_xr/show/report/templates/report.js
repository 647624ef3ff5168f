"use strict";
(() => {
  const numbers = JSON.parse(document.getElementById("numbers").textContent);
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const units = numbers.perUnit ? numbers.rows : numbers.units;
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  document.documentElement.classList.add("js");

  // tables: sort, filter, copy
  const bare = (cell) => cell.textContent.trim();
  const asNumber = (text) => (text === "" ? NaN : parseFloat(text));
  const isNumber = (text) => /^[-+]?\d+(\.\d+)?$/.test(text);
  const natural = new Intl.Collator("en", { numeric: true });

  for (const table of all("table.sortable")) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const heads = Array.from(table.tHead.rows[0].cells);
    const tools = table.closest("section").querySelector(".tools");
    const count = tools.querySelector(".count");

    const sort = (k) => {
      const down = heads[k].getAttribute("aria-sort") === "ascending";
      heads.forEach((head, i) => head.setAttribute("aria-sort", i === k ? (down ? "descending" : "ascending") : "none"));
      const numeric = heads[k].classList.contains("n");
      const keys = new Map(rows.map((row) => [row, numeric ? asNumber(bare(row.cells[k])) : bare(row.cells[k])]));
      const empty = (key) => (numeric ? Number.isNaN(key) : key === "");
      rows.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (empty(x) || empty(y)) return empty(x) - empty(y);  // what is not known stays last either way
        const both = numeric || (isNumber(x) && isNumber(y));
        return (both ? x - y : natural.compare(x, y)) * (down ? -1 : 1);
      });
      body.append(...rows);
    };
    heads.forEach((head, k) => {
      const button = make("button", "");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(k));
    });

    const total = rows.length;
    tools.querySelector(".filter").addEventListener("input", (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = words.length ? `${shown} of ${total} rows` : `${total} rows`;
    });

    tools.querySelector(".copy").addEventListener("click", async (event) => {
      const visible = [table.tHead.rows[0], ...rows.filter((row) => !row.hidden)];
      const text = visible.map((row) => Array.from(row.cells, bare).join("\t")).join("\n");
      await copy(text, event.target, table);
    });
  }

  async function copy(text, button, fallback) {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(fallback);  // some browsers let no page from a file write the clipboard
      button.textContent = "Selected: copy it with the keyboard";
    }
    setTimeout(() => { button.textContent = words; }, 2500);
  }

  // focal plane: choose a detector, choose a colour
  const plane = document.getElementById("plane");
  const panel = document.getElementById("chosen");
  const shapes = all("rect[data-u]", plane);
  const HOLE = "#c7c7c7";

  function choose(detector) {
    for (const old of all("#plane a.chosen, tr.chosen")) old.classList.remove("chosen");
    plane.querySelector(`a[data-d="${detector}"]`).classList.add("chosen");
    panel.replaceChildren(make("h3", `Detector ${numbers.detectors[detector]}`));
    for (const table of all("table.sortable")) {
      const rows = all(`tr[data-d="${detector}"]`, table);
      if (!rows.length) continue;
      rows.forEach((row) => row.classList.add("chosen"));
      const box = table.parentElement;
      box.scrollTop = rows[0].offsetTop - table.tHead.offsetHeight - 8;
      panel.append(rows.length === 1 ? asList(table, rows[0]) : asTable(table, rows));
    }
    const link = make("a", "Its row in the table");
    link.href = `#detector-${detector}`;
    panel.append(link);
  }

  function asList(table, row) {
    const list = document.createElement("dl");
    Array.from(row.cells).forEach((cell, k) => {
      list.append(make("dt", table.tHead.rows[0].cells[k].textContent), make("dd", bare(cell)));
    });
    return list;
  }

  function asTable(table, rows) {
    const copyOf = document.createElement("table");
    const head = copyOf.createTHead().insertRow();
    const rest = (row) => Array.from(row.cells).slice(1);  // the first is the detector itself
    rest(table.tHead.rows[0]).forEach((cell) => head.append(Object.assign(make("th", cell.textContent), { className: cell.className })));
    const body = copyOf.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      rest(row).forEach((cell) => line.append(Object.assign(make("td", bare(cell)), { className: cell.className })));
    }
    const box = document.createElement("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.append(copyOf);
    return box;
  }

  for (const link of all("a[data-d]", plane)) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      choose(Number(link.dataset.d));
    });
  }

  const variable = document.getElementById("variable");
  const exposure = document.getElementById("exposure");
  numbers.variables.forEach((one, k) => variable.append(new Option(one.name, k)));
  if (numbers.perUnit) {
    variable.append(new Option("residual [%]", "residual"));
    numbers.exposures.forEach((label, k) => exposure.append(new Option(label, k)));
  }

  function ends(known, centre) {
    const sorted = known.map((value) => (centre === null ? value : Math.abs(value - centre))).sort((a, b) => a - b);
    if (!sorted.length) return [0, 1];
    const share = sorted.length > 400 ? (centre === null ? 0.005 : 0.01) : 0;  // a few far values leave the others a scale
    const [low, high] = [sorted[Math.floor(share * sorted.length)], sorted[Math.ceil((1 - share) * sorted.length) - 1]];
    if (centre !== null) return [centre - (high || 0.5), centre + (high || 0.5)];
    return high > low ? [low, high] : [low - 0.5, low + 0.5];
  }

  function colour() {
    const ofCells = variable.value === "residual";
    document.getElementById("exposure-label").hidden = !ofCells;
    const k = Number(exposure.value);
    const values = ofCells
      ? units.map((_, i) => 100 * residual[i * numbers.exposures.length + k])
      : numbers.variables[Number(variable.value)].values;
    const centre = ofCells ? 0 : numbers.variables[Number(variable.value)].centre;
    const known = values.filter((value) => value !== null && Number.isFinite(value));
    const [low, high] = ofCells ? [-numbers.limit, numbers.limit] : ends(known, centre);
    const ramp = centre === null ? numbers.ramps.plain : numbers.ramps.about;
    all(".plane .scale rect").forEach((rect, i) => rect.setAttribute("fill", ramp[i]));
    for (const shape of shapes) {
      const i = Number(shape.dataset.u);
      const value = values[i];
      const isKnown = value !== null && Number.isFinite(value);
      const place = isKnown ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0;
      shape.setAttribute("fill", isKnown ? ramp[Math.round(place * (ramp.length - 1))] : HOLE);
      shape.querySelector("title").textContent = `${units[i]}: ${isKnown ? value.toPrecision(6) : "not known"}`;
    }
    const figure = document.querySelector(".plane .scale");
    figure.querySelector(".low").textContent = low.toPrecision(4);
    figure.querySelector(".high").textContent = high.toPrecision(4);
    figure.querySelector("figcaption").textContent =
      variable.selectedOptions[0].textContent + (ofCells ? `, exposure ${numbers.exposures[k]}` : "");
  }
  variable.addEventListener("change", colour);
  exposure.addEventListener("change", colour);

  // residuals: the numbers of the cell that is pointed at
  const matrix = document.getElementById("matrix");
  if (!matrix) return;
  const bytesOf = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const [residualBytes, flagBytes] = [bytesOf(numbers.residual), bytesOf(numbers.flags)];
  const residual = Float32Array.from(
    { length: residualBytes.byteLength / 4 }, (_, i) => residualBytes.getFloat32(4 * i, true));
  const flagsOf = (cell) => (flagBytes.byteLength ? numbers.flagSets[flagBytes.getUint16(2 * cell, true)] : 0);
  const cursor = document.getElementById("cursor");
  const output = document.getElementById("cell");
  const [nRows, nColumns] = [numbers.rows.length, numbers.exposures.length];
  const MMAG = 2500 / Math.LN10;
  const logarithm = (value) => (numbers.logarithmic ? value : Math.log1p(value));
  let at = [0, 0];
  let kept = false;

  function show(row, column) {
    at = [row, column];
    cursor.setAttribute("x", `${(100 * column) / nColumns}%`);
    cursor.setAttribute("y", `${(100 * row) / nRows}%`);
    cursor.setAttribute("width", `${100 / nColumns}%`);
    cursor.setAttribute("height", `${100 / nRows}%`);
    const cell = row * nColumns + column;
    const value = residual[cell];
    const parts = [`${numbers.rows[row]}, exposure ${numbers.exposures[column]}`];
    parts.push(Number.isFinite(value)
      ? `residual ${(100 * value).toPrecision(5)} % = ${(MMAG * logarithm(value)).toPrecision(4)} mmag`
      : "no residual");
    const model = numbers.G && numbers.G[numbers.groupOf[column]][row] * numbers.E[column];
    if (model && Number.isFinite(value)) {
      parts.push(`level ${(model * Math.exp(logarithm(value))).toPrecision(7)} ${numbers.levelUnits}, model ${model.toPrecision(7)} ${numbers.levelUnits}`);
    }
    const set = flagsOf(cell);
    for (const [flag, words] of Object.entries(numbers.flagWords)) if (set & Number(flag)) parts.push(words);
    output.textContent = parts.join("; ");
  }

  document.getElementById("copy-residuals").addEventListener("click", (event) => {
    const per = numbers.rows.map((name, i) => [name, ...Array.from(
      { length: nColumns }, (_, k) => (Number.isFinite(residual[i * nColumns + k]) ? 100 * residual[i * nColumns + k] : ""))]);
    const text = [["residual [%]", ...numbers.exposures], ...per].map((line) => line.join("\t")).join("\n");
    copy(text, event.target, output);
  });

  function pointed(event) {
    const box = matrix.getBoundingClientRect();
    const inside = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
    show(inside((event.clientY - box.top) / box.height, nRows), inside((event.clientX - box.left) / box.width, nColumns));
  }
  matrix.addEventListener("pointermove", (event) => { if (!kept) pointed(event); });
  matrix.addEventListener("click", (event) => {
    kept = !kept;
    matrix.classList.toggle("kept", kept);
    pointed(event);
  });
  matrix.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.min(Math.max(at[0] + step[0], 0), nRows - 1), Math.min(Math.max(at[1] + step[1], 0), nColumns - 1));
    const box = document.getElementById("matrix-scroll");
    const y = ((at[0] + 0.5) / nRows) * matrix.clientHeight;
    if (y < box.scrollTop || y > box.scrollTop + box.clientHeight) box.scrollTop = y - box.clientHeight / 2;
  });
})();
