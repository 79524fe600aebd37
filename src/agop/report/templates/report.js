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
      series: (name) => name === "" || series.has(name),
      layer: (layer) => layer >= first && layer <= last,
    };
  };

  const within = (trace, shown) => {
    const kept = trace.x.map((layer, index) => [layer, trace.y[index]]).filter(([layer]) => shown.layer(layer));
    return { ...trace, x: kept.map((pair) => pair[0]), y: kept.map((pair) => pair[1]) };
  };

  // Powers of ten where there are enough of them to read a value off, else multiples of 1, 2, 5 or of every digit;
  // a linear axis where even these are too few.
  const logTicks = (values) => {
    const logs = values.filter((value) => value > 0).map(Math.log10);
    if (!logs.length) return { type: "linear" };
    const low = Math.min(...logs), high = Math.max(...logs), pad = 0.06 * (high - low) + 0.02;
    const labels = (digits) => {
      let count = 0;
      for (let power = Math.floor(low - pad); power <= high + pad; power++) {
        count += digits.filter((d) => low - pad <= power + Math.log10(d) && power + Math.log10(d) <= high + pad).length;
      }
      return count;
    };
    if (labels([1]) >= 3) {
      return { dtick: 1, exponentformat: "power", tickformat: "",
        minor: { dtick: "D1", ticks: "outside", ticklen: 3, showgrid: false } };
    }
    if (labels([1, 2, 5]) >= 3) return { dtick: "D2", tickformat: "~g", minor: {} };
    if (labels([1, 2, 3, 4, 5, 6, 7, 8, 9]) >= 3) return { dtick: "D1", tickformat: "~g", minor: {} };
    return { type: "linear", minor: {} };
  };

  // An axis that is logarithmic on both sides of zero and linear about it: heights are transformed, ticks and hover say the numbers.
  const aboutZero = (traces, layout) => {
    const unit = layout.meta.linear_within;
    const height = (v) => (Math.abs(v) <= unit ? v / unit : Math.sign(v) * (1 + Math.log10(Math.abs(v) / unit)));
    const values = traces.flatMap((trace) => trace.y);
    const side = (extreme) => {
      if (!(extreme > 0)) return [];
      const first = Math.round(Math.log10(unit)), last = Math.max(first, Math.ceil(Math.log10(extreme) - 1e-9));
      const step = 1 + Math.floor((last - first) / 8);
      return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, n) => first + n * step);
    };
    const word = (power) => (power < -3 || power > 3 ? `10<sup>${power}</sup>` : String(Number((10 ** power).toPrecision(3))));
    const below = side(-Math.min(0, ...values)).reverse(), above = side(Math.max(0, ...values));
    layout.yaxis.tickvals = [...below.map((p) => -height(10 ** p)), 0, ...above.map((p) => height(10 ** p))];
    layout.yaxis.ticktext = [...below.map((p) => "−" + word(p)), "0", ...above.map(word)];
    layout.yaxis.title.text += "<br>(log scale, linear about 0)";
    (layout.shapes || []).forEach((line) => { line.y0 = line.y1 = height(line.y0); });
    return traces.map((trace) => ({ ...trace, customdata: trace.y, y: trace.y.map(height),
      hovertemplate: trace.hovertemplate.replace("%{y:", "%{customdata:") }));
  };

  const draw = (chart, shown) => {
    let traces = chart.figure.data
      .filter((trace) => shown.run(trace.meta.run) && shown.series(trace.meta.series))
      .map((trace) => within(trace, shown));
    const layout = structuredClone(chart.figure.layout);
    layout.xaxis.unifiedhovertitle = { text: "layer %{x}" };
    if (narrow) { layout.height = 320; layout.font.size = 12; }
    if (layout.yaxis.type === "log") {
      Object.assign(layout.yaxis, logTicks(traces.flatMap((trace) => trace.y)));
      if (layout.yaxis.type === "log") layout.yaxis.title.text += " (log scale)";
    }
    if (layout.meta && layout.meta.linear_within) traces = aboutZero(traces, layout);
    const shownLayers = traces.flatMap((trace) => trace.x);
    if (shownLayers.length) {
      const first = Math.min(...shownLayers), last = Math.max(...shownLayers), span = Math.max(1, last - first);
      layout.xaxis.range = [first - 0.3 - 0.02 * span, last + 0.3 + 0.02 * span];
      layout.xaxis.dtick = span <= 12 ? 1 : 5 * Math.ceil(span / 60);
      layout.xaxis.tick0 = 0;
      // Less than half of the way to the next layer: a curve that has no value at a layer must not show its neighbour's.
      const width = document.getElementById("chart-" + chart.id).clientWidth - layout.margin.l - layout.margin.r;
      layout.hoverdistance = Math.max(1, Math.floor(0.45 * width / (span + 0.6 + 0.04 * span)));
    }
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
  // Paper is narrower than most screens: two charts beside each other on A4 or Letter.
  const onPaper = { width: 330, height: 240, autosize: false };
  addEventListener("resize", apply);
  addEventListener("beforeprint", () => charts.forEach((chart) => Plotly.relayout("chart-" + chart.id, onPaper)));
  addEventListener("afterprint", apply);
  apply();
})();
