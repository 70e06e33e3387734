/* The few things that a page does by itself: say that it is stale, filter tables, draw a chart with tooltips on
   demand, and answer the sliders. No request leaves the folder of the page. */
"use strict";
window.CBI = (() => {
  const specifications = {};
  const loaded = {};

  function stale() {
    const banner = document.getElementById("stale");
    if (!banner || !banner.dataset.staleAt) return;
    const late = Date.now() - Date.parse(banner.dataset.staleAt);
    if (late <= 0) return;
    const age = Math.floor((Date.now() - Date.parse(banner.dataset.session + "T23:00:00Z")) / 86400000);
    banner.querySelector("b").textContent =
      `This page is stale: its forecast is ${age} ${age === 1 ? "day" : "days"} old.`;
    banner.hidden = false;
  }

  function filters() {
    for (const input of document.querySelectorAll("input[data-filter]")) {
      const parts = [...document.getElementById(input.dataset.filter).querySelectorAll("[data-row]")];
      const texts = parts.map((part) => part.textContent.toLowerCase());
      const shown = document.getElementById(input.dataset.filter + "-shown");
      const apply = () => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        let count = 0;
        parts.forEach((part, place) => {
          part.hidden = !words.every((word) => texts[place].includes(word));
          count += part.hidden ? 0 : 1;
        });
        if (shown) shown.textContent = `${count} of ${parts.length}`;
      };
      input.addEventListener("input", apply);
      apply();
    }
  }

  function script(address) {
    loaded[address] ??= new Promise((done, failed) => {
      const element = document.createElement("script");
      element.src = address;
      element.onload = done;
      element.onerror = () => failed(new Error(`${address} cannot be read`));
      document.head.append(element);
    });
    return loaded[address];
  }

  function colored(specification) {
    const style = getComputedStyle(document.documentElement);
    let text = JSON.stringify(specification);
    for (const [color, name] of Object.entries(window.CBI_COLORS))
      text = text.replaceAll(color, style.getPropertyValue(`--${name}`).trim());
    return JSON.parse(text);
  }

  async function interactive(button) {
    const plot = document.getElementById(`plot-${button.dataset.chart}`);
    button.disabled = true;
    try {
      await script("vega.js");
      await script(`charts/${button.dataset.chart}.js`);
      plot.replaceChildren();
      plot.removeAttribute("role");
      await window.vegaEmbed(plot, colored(specifications[button.dataset.chart]), { actions: false, renderer: "svg", ast: true, logLevel: 1 });
      button.textContent = "Interactive: point at the chart";
    } catch (error) {
      button.textContent = `The interactive chart cannot be drawn: ${error.message}`;
    }
  }

  /* on a phone the newest part of a chart is at its right */
  function newest() {
    for (const plot of document.querySelectorAll(".plot")) plot.scrollLeft = plot.scrollWidth;
  }

  function start() {
    newest();
    stale();
    filters();
    for (const button of document.querySelectorAll("button[data-chart]"))
      button.addEventListener("click", () => interactive(button));
  }

  document.addEventListener("DOMContentLoaded", start);
  return { chart: (name, specification) => { specifications[name] = specification; } };
})();
