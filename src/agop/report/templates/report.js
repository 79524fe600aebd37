"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("data").textContent);
  const controls = document.getElementById("controls");
  const NS = "http://www.w3.org/2000/svg";

  // What the switches say: the series and runs that are shown, and the range of layers.
  const boxes = (name) => [...controls.querySelectorAll(`[name=${name}]`)];
  const chosen = () => {
    const off = (name) => new Set(boxes(name).filter((box) => !box.checked).map((box) => box.value));
    const bound = (name, otherwise) => (controls[name].value === "" ? otherwise : Number(controls[name].value));
    const runs = off("run"), series = off("series");
    const first = bound("first", -Infinity), last = bound("last", Infinity);
    return {
      first, last,
      run: (index) => !runs.has(String(index)),
      series: (name) => !series.has(name),
      layer: (layer) => layer >= first && layer <= last,
    };
  };

  // Layers outside of the range are veiled, and not pointed at.
  const veil = (svg, panel, place, live) => {
    const at = (layer) => {
      const known = panel.curves.flatMap((curve, c) => curve.at.map((value, i) => [value, place.x[c][i]])).filter((pair) => pair[1] !== null);
      const [a, b] = [known.reduce((m, p) => (p[0] < m[0] ? p : m)), known.reduce((m, p) => (p[0] > m[0] ? p : m))];
      return b[0] === a[0] ? a[1] : a[1] + ((layer - a[0]) / (b[0] - a[0])) * (b[1] - a[1]);
    };
    const [left, top, right, bottom] = place.box;
    const cover = (from, to) => {
      if (!(to > from)) return;
      const rectangle = svg.appendChild(document.createElementNS(NS, "rect"));
      const shape = { x: from, y: top, width: to - from, height: bottom - top, class: "veil" };
      Object.entries(shape).forEach(([name, value]) => rectangle.setAttribute(name, value));
    };
    if (Number.isFinite(Number(live.dataset.first))) cover(left, Math.min(right, at(Number(live.dataset.first) - 0.5)));
    if (Number.isFinite(Number(live.dataset.last))) cover(Math.max(left, at(Number(live.dataset.last) + 0.5)), right);
  };

  const draw = (chart, shown) => {
    const live = document.querySelector(`#chart-${CSS.escape(chart.id)} .live`);
    live.dataset.first = shown.first;
    live.dataset.last = shown.last;
    let number = 0;
    chart.panels.forEach((panel) => panel.curves.forEach((curve) => {
      const hidden = !(shown.run(curve.run) && shown.series(curve.series));
      live.querySelectorAll(`[data-curve="${number}"]`).forEach((part) => part.toggleAttribute("hidden", hidden));
      number += 1;
    }));
    live.querySelectorAll(".veil").forEach((old) => old.remove());
    live.querySelectorAll("svg.layout").forEach((svg, l) => chart.panels.forEach((panel, p) => {
      if (panel.words[0] === "layer" && panel.along === "x") veil(svg, panel, chart.places[l][p], live);
    }));
  };

  const apply = () => {
    const shown = chosen();
    charts.forEach((chart) => draw(chart, shown));
    document.querySelectorAll("#table tbody tr").forEach((row) => {
      row.hidden = !(shown.run(row.dataset.run) && shown.layer(Number(row.dataset.layer)));
    });
    document.querySelectorAll("#table [data-stage]").forEach((cell) => {
      cell.hidden = cell.dataset.stage !== "" && !shown.series(cell.dataset.stage);
    });
    document.querySelectorAll(".gram-row").forEach((row) => { row.hidden = !shown.layer(Number(row.dataset.layer)); });
    document.querySelectorAll(".grams figure").forEach((item) => { item.hidden = !shown.series(item.dataset.stage); });
    document.querySelectorAll(".of-run").forEach((part) => { part.hidden = !shown.run(part.dataset.run); });
  };

  // Sorting: by the number of a cell where it has one, else by its text; cells without a value stay last.
  const sortBy = (heading, column) => {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const sign = descending ? -1 : 1;
    const body = document.querySelector("#table tbody");
    const key = (row) => {
      const cell = row.cells[column];
      if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
      return cell.textContent === "–" ? null : cell.textContent;
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
    };
    body.append(...[...body.rows].sort(order));
    document.querySelectorAll("#table th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  };

  document.querySelectorAll("#table th").forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortBy(heading, column));
  });
  controls.addEventListener("input", apply);
  controls.addEventListener("reset", () => setTimeout(apply));
  controls.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
