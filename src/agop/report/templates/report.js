"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("data").textContent);
  const controls = document.getElementById("controls");
  const narrow = matchMedia("(max-width: 40rem)").matches;
  const config = { responsive: true, displaylogo: false,
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]] };

  // What the switches say: the series and runs that are shown, and the range of layers.
  const chosen = () => {
    const values = (name) => new Set([...controls.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value));
    const bound = (name, otherwise) => (controls[name].value === "" ? otherwise : Number(controls[name].value));
    const severalRuns = controls.querySelector("[name=run]") !== null;
    const runs = values("run"), series = values("series");
    const first = bound("first", -Infinity), last = bound("last", Infinity);
    return {
      run: (index) => !severalRuns || runs.has(String(index)),
      series: (name) => series.has(name),
      layer: (layer) => layer >= first && layer <= last,
    };
  };

  const within = (trace, shown) => {
    const kept = trace.x.map((layer, index) => [layer, trace.y[index]]).filter(([layer]) => shown.layer(layer));
    return { ...trace, x: kept.map((pair) => pair[0]), y: kept.map((pair) => pair[1]) };
  };

  const draw = (chart, shown) => {
    const traces = chart.figure.data
      .filter((trace) => shown.run(trace.meta.run) && shown.series(trace.meta.series))
      .map((trace) => within(trace, shown));
    const layout = structuredClone(chart.figure.layout);
    layout.xaxis.unifiedhovertitle = { text: "layer %{x}" };
    if (narrow) { layout.height = 320; layout.font.size = 12; }
    const count = new Set(traces.flatMap((trace) => trace.x)).size;
    if (count <= 12) layout.xaxis.dtick = 1;
    return Plotly.react("chart-" + chart.id, traces, layout, config);
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
    document.querySelectorAll(".grams-of-run").forEach((part) => { part.hidden = !shown.run(part.dataset.run); });
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
  const resize = () => charts.forEach((chart) => Plotly.Plots.resize("chart-" + chart.id));
  addEventListener("beforeprint", resize);
  addEventListener("afterprint", resize);
  apply();
})();
