"use strict";
// Figures that say their numbers: a pointer, a finger or the arrow keys choose a place, and every curve that is shown there says its value.
// What there is to say stands in #data: panels with the numbers of their curves, and for each layout the places of these in its SVG.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const text = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))).replace("-", "−") : String(value));
  const make = (tag, parent, words) => {
    const element = parent.appendChild(document.createElement(tag));
    if (words !== undefined) element.textContent = words;
    return element;
  };

  const follow = (entry) => {
    const live = document.querySelector(`#chart-${CSS.escape(entry.id)} .live`);
    const tip = make("div", live);
    tip.className = "tip";
    tip.setAttribute("role", "status");
    tip.hidden = true;
    const layouts = [...live.querySelectorAll("svg.layout")].map((svg, number) => {
      const marks = svg.appendChild(document.createElementNS(NS, "g"));
      marks.setAttribute("class", "marks");
      return { svg, marks, places: entry.places[number] };
    });
    const first = entry.panels.map((_, p) => entry.panels.slice(0, p).reduce((sum, panel) => sum + panel.curves.length, 0));
    const layout = () => layouts.find(({ svg }) => svg.getClientRects().length) || layouts[0];
    let at = null; // panel and place along its axis

    const isShown = ({ svg }, p, c) => {
      const group = svg.querySelector(`[data-curve="${first[p] + c}"]`);
      return group && !group.hasAttribute("hidden");
    };
    const inRange = (value) => live.dataset.first === undefined || typeof value !== "number"
      || (value >= Number(live.dataset.first) && value <= Number(live.dataset.last));

    // Every point of a panel that can be pointed at now, with its place.
    const points = (now, p) => entry.panels[p].curves.flatMap((curve, c) => {
      if (!isShown(now, p, c)) return [];
      const { x, y } = now.places[p];
      return curve.at.map((where, i) => ({ curve, where, value: curve.value[i], x: x[c][i], y: y[c][i] }))
        .filter((point) => point.x !== null && point.y !== null && (entry.panels[p].words[0] !== "layer" || inRange(point.where)));
    });
    const along = (p, point) => (entry.panels[p].along === "y" ? point.y : point.x);

    const hide = () => {
      at = null;
      tip.hidden = true;
      layouts.forEach(({ marks }) => marks.replaceChildren());
    };

    const show = (p, chosen) => {
      const now = layout(), panel = entry.panels[p], place = now.places[p];
      layouts.forEach(({ marks }) => marks.replaceChildren());
      if (!chosen.length) return hide();
      at = { p, place: along(p, chosen[0]), x: chosen[0].x, y: chosen[0].y };
      const mark = (tag, attributes) => {
        const element = now.marks.appendChild(document.createElementNS(NS, tag));
        Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
      };
      const [left, top, right, bottom] = place.box;
      if (panel.along === "x") mark("line", { x1: at.x, x2: at.x, y1: top, y2: bottom });
      if (panel.along === "y") mark("line", { x1: left, x2: right, y1: at.y, y2: at.y });
      chosen.forEach((point) => mark("circle", { cx: point.x, cy: point.y, r: 4.5 }));
      tip.replaceChildren();
      const where = text(chosen[0].where), word = panel.words[0];
      const head = panel.along === "y" || typeof chosen[0].where === "string" ? where : `${word} ${where}`;
      make("b", tip, [entry.panels.length > 1 ? panel.title : "", head].filter(Boolean).join(": "));
      const list = make("ul", tip);
      chosen.slice(0, 12).forEach((point) => {
        const item = make("li", list);
        make("i", item).style.background = `var(--k${point.curve.colour})`;
        make("span", item, `${point.curve.name || panel.words[1]}: `);
        make("span", item, text(point.value)).className = "value";
      });
      if (chosen.length > 12) make("li", list, `and ${chosen.length - 12} more`);
      tip.hidden = false;
      const box = now.svg.getBoundingClientRect(), outer = live.getBoundingClientRect(), scale = box.width / now.svg.viewBox.baseVal.width;
      const x = box.left - outer.left + at.x * scale;
      const fits = x + 14 + tip.offsetWidth <= outer.width;
      const side = fits ? x + 14 : Math.max(0, x - 14 - tip.offsetWidth);
      tip.style.left = `${Math.min(side, Math.max(0, outer.width - tip.offsetWidth))}px`;
      tip.style.top = `${box.top - outer.top + (panel.along === "y" ? Math.max(top, at.y - 30) : top) * scale + 4}px`;
    };

    // All points of a panel at one place along its axis; of scattered points one alone.
    const together = (p, all, nearest) => (entry.panels[p].along === "point" ? [nearest]
      : all.filter((point) => Math.abs(along(p, point) - along(p, nearest)) < 0.3));

    const under = (event) => {
      const now = layout();
      const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(now.svg.getScreenCTM().inverse());
      const p = now.places.findIndex(({ box: [l, t, r, b] }) => spot.x > l - 6 && spot.x < r + 6 && spot.y > t - 6 && spot.y < b + 6);
      const all = p < 0 ? [] : points(now, p);
      if (!all.length) return hide();
      const distance = (point) => ({ x: Math.abs(point.x - spot.x), y: Math.abs(point.y - spot.y),
        point: Math.hypot(point.x - spot.x, point.y - spot.y) })[entry.panels[p].along];
      return show(p, together(p, all, all.reduce((best, point) => (distance(point) < distance(best) ? point : best))));
    };

    const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const byKey = (event) => {
      if (event.key === "Escape") return hide();
      const now = layout(), turn = { ArrowUp: -1, ArrowDown: 1 }[event.key] || 0;
      if (!turn && STEPS[event.key] === undefined) return undefined;
      event.preventDefault();
      const p = at ? Math.min(entry.panels.length - 1, Math.max(0, at.p + turn)) : 0;
      const all = points(now, p).sort((a, b) => along(p, a) - along(p, b) || a.y - b.y);
      if (!all.length) return hide();
      const stops = entry.panels[p].along === "point" ? all
        : all.filter((point, i) => i === 0 || Math.abs(along(p, point) - along(p, all[i - 1])) >= 0.3);
      const near = (point) => (at ? Math.hypot(point.x - at.x, entry.panels[p].along === "x" ? 0 : point.y - at.y) : 0);
      const here = at && !turn ? stops.reduce((best, point, i) => (near(point) < near(stops[best]) ? i : best), 0) : -1;
      const step = turn ? 1 : STEPS[event.key];
      const next = Math.min(stops.length - 1, Math.max(0, here < 0 ? (step === Infinity ? step : 0) : here + step));
      return show(p, together(p, all, stops[next]));
    };

    layouts.forEach(({ svg }) => {
      svg.addEventListener("pointermove", under);
      svg.addEventListener("pointerdown", under);
    });
    live.addEventListener("pointerleave", hide);
    live.addEventListener("blur", hide);
    live.addEventListener("keydown", byKey);
    addEventListener("resize", hide);
  };

  JSON.parse(document.getElementById("data").textContent).forEach(follow);
})();
