"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const canvases = [...document.querySelectorAll(".canvas")];
  const narrow = () => window.innerWidth < 700;

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const known = { ink: colour("ink"), muted: colour("muted"), line: colour("line") };
    for (let i = 1; i <= 6; i++) known[i] = colour("c" + i);
    known.scale = [[0, colour("low")], [0.4, colour("middle")], [1, colour("high")]];
    return known;
  }

  // "@1/0.2" is the first colour at 20 % opacity
  function coloured(value, known) {
    if (Array.isArray(value)) return value.map((part) => coloured(part, known));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, known)]));
    }
    const found = typeof value === "string" && /^@(\w+)(?:\/([\d.]+))?$/.exec(value);
    if (!found) return value;
    const colour = known[found[1]];
    if (found[2] === undefined) return colour;
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
    return `rgba(${r},${g},${b},${found[2]})`;
  }

  // long names leave no room for bars in a narrow window, so they take several lines there
  function folded(data) {
    if (!narrow()) return data;
    return data.map((trace) => (trace.orientation === "h" ? { ...trace, y: trace.y.map(inLines) } : trace));
  }

  function inLines(name) {
    const lines = [""];
    for (const part of name.split(/(?<=[- ])/)) {
      const last = lines.length - 1;
      if (lines[last] && (lines[last] + part).length > 22) lines.push(part);
      else lines[last] += part;
    }
    return lines.join("<br>");
  }

  function layout(canvas, own, known) {
    const axis = (given) => ({
      gridcolor: known.line, linecolor: known.line, zeroline: false, automargin: true,
      tickfont: { size: 11 }, ...given,
      title: { ...(given || {}).title, font: { size: 12 }, standoff: 8 },
    });
    return {
      ...own,
      xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
      autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: known.ink, size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 10, r: 12, t: own.showlegend ? 36 : 12, b: 10 },
      legend: { ...own.legend, orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 11 } },
      hoverlabel: { align: "left", font: { size: 12 } },
      bargap: 0.35,
    };
  }

  function draw(canvas) {
    const { data, layout: own } = figures[Number(canvas.dataset.figure)];
    const rows = Number(canvas.dataset.rows);
    if (rows && canvas.closest(".wide")) canvas.style.height = Math.max(150, 90 + (narrow() ? 54 : 26) * rows) + "px";
    const known = theme();
    canvas.dataset.drawn = "yes";
    Plotly.react(canvas, folded(coloured(data, known)), layout(canvas, coloured(own, known), known), {
      responsive: true, displaylogo: false, displayModeBar: false,
    });
  }

  const drawn = () => canvases.filter((canvas) => canvas.dataset.drawn);
  if (location.hash === "#all") {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    canvases.forEach(draw);
  } else {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting && !entry.target.dataset.drawn) draw(entry.target);
      }
    }, { rootMargin: "600px" });
    canvases.forEach((canvas) => seen.observe(canvas));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn().forEach(draw));
  addEventListener("beforeprint", () => canvases.forEach(draw));
})();
