"use strict";
// What the pages cannot do without a script: moments in the reader's zone, charts, and a copy button.
(() => {
  const language = document.documentElement.lang;
  const moment = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium" });

  function localTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(element.getAttribute("datetime"));
      if (Number.isNaN(at.getTime())) continue;
      element.title = element.textContent + " UTC";
      element.textContent = moment.format(at);
      element.dataset.local = "";
    }
  }

  const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim() || "#888";

  function charts(root) {
    for (const figure of root.querySelectorAll("figure.chart[data-chart]")) {
      if (figure.dataset.drawn === figure.dataset.chart) continue;
      const chart = JSON.parse(figure.dataset.chart);
      figure.querySelector(".uplot")?.remove();
      const grid = { stroke: colour("line"), width: 1 }, ticks = { ...grid, size: 4 };
      const days = chart.x.at(-1) - chart.x[0] > 2 * 86400;
      const shortMoment = new Intl.DateTimeFormat(language, days ? { day: "2-digit", month: "2-digit" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      const incrs = days ? { incrs: [1, 2, 5, 10].map(count => count * 86400) } : {};
      const axis = { stroke: colour("soft"), grid, ticks, font: "12px system-ui, sans-serif" };
      const plot = new uPlot({
        width: figure.clientWidth || 300,
        height: 190,
        cursor: { y: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.05] } },
        axes: [{ ...axis, ...incrs, values: (_, ticks) => ticks.map(tick => shortMoment.format(new Date(tick * 1000))) }, { ...axis, size: 54, values: (_, ticks) => ticks.map(tick => tick.toLocaleString(language)) }],
        series: [
          { value: (_, at) => (at == null ? "–" : moment.format(new Date(at * 1000))), label: chart.time || "" },
          ...chart.series.map(line => ({
            label: line.label,
            stroke: colour(line.kind),
            width: 2,
            points: { show: false },
            value: (_, value) => (value == null ? "–" : value.toLocaleString(language) + (chart.unit ? " " + chart.unit : "")),
          })),
        ],
      }, [chart.x, ...chart.series.map(line => line.values)], figure);
      figure.dataset.drawn = figure.dataset.chart;
      new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: 190 })).observe(figure);
    }
  }

  function copyButtons(root) {
    for (const button of root.querySelectorAll("button[data-copy]:not([data-ready])")) {
      button.dataset.ready = "";
      button.addEventListener("click", async () => {
        const text = document.querySelector(button.dataset.copy).textContent;
        try { await navigator.clipboard.writeText(text); } catch { return; }
        const before = button.textContent;
        button.textContent = button.dataset.copied;
        setTimeout(() => { button.textContent = before; }, 1500);
      });
    }
  }

  // A token behind # in the address never reaches a server's log; it is taken over into the form.
  function tokenOfAddress() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token"), form = document.getElementById("login");
    if (!token || !form) return;
    history.replaceState(null, "", location.pathname + location.search);
    form.elements.token.value = token;
    form.requestSubmit();
  }

  function trouble(is) { const line = document.getElementById("trouble"); if (line) line.hidden = !is; }

  function showCurrentPage() {
    const link = document.querySelector("nav.pages a[aria-current]");
    if (link) link.closest("nav").scrollLeft = link.offsetLeft - 40;
  }

  function ready(root) { localTimes(root); charts(root); copyButtons(root); }
  document.addEventListener("DOMContentLoaded", () => { ready(document); showCurrentPage(); tokenOfAddress(); });
  document.addEventListener("htmx:afterSwap", event => ready(event.detail.target.isConnected ? event.detail.target : document));
  document.addEventListener("htmx:beforeRequest", event => { if (document.hidden) event.preventDefault(); });
  document.addEventListener("htmx:sendError", () => trouble(true));
  document.addEventListener("htmx:responseError", () => trouble(true));
  document.addEventListener("htmx:afterRequest", event => { if (event.detail.successful) trouble(false); });
  document.addEventListener("htmx:afterSettle", () => ready(document));
})();
