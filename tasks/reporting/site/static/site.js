/* The few things that a page does by itself: filter tables, draw a chart with tooltips on demand, and answer the
   sliders. No request leaves the folder of the page. */
"use strict";
window.CBI = (() => {
  const specifications = {};
  const loaded = {};

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

  /* p10, p50 and p90 at moves of several inputs, null where a point that is needed has no answer: the same arithmetic as
     surface_answer in tasks/forecasting/surface.py */
  function surfaceAnswer(points, moves) {
    const key = (point) => point.map(([name, move]) => `${name}=${move}`).join("&");
    const shape = (prices) => prices && [Math.log(prices[1]), Math.log(prices[1] / prices[0]), Math.log(prices[2] / prices[1])];
    const shapes = Object.fromEntries(points.map(([point, prices]) => [key(point), shape(prices)]));
    const today = shapes[""];
    const moved = Object.keys(moves).filter((name) => moves[name] !== 0);
    if (!today) return null;
    const total = [...today];
    const add = (one, share) => one.forEach((value, place) => { total[place] += share * value; });
    const less = (one, other) => one.map((value, place) => value - other[place]);
    for (const name of moved) {
      const levels = [0, ...points.filter(([point]) => point.length === 1 && point[0][0] === name).map(([point]) => point[0][1])].sort((one, other) => one - other);
      const high = Math.min(Math.max(levels.findIndex((level) => level >= moves[name]), 1), levels.length - 1);
      const share = (moves[name] - levels[high - 1]) / (levels[high] - levels[high - 1]);
      for (const [level, part] of [[levels[high - 1], 1 - share], [levels[high], share]]) {
        const found = level === 0 ? today : shapes[key([[name, level]])];
        if (part !== 0 && !found) return null;
        if (part !== 0) add(less(found, today), part);
      }
    }
    for (const [point, prices] of points) {
      if (point.length !== 2 || !point.every(([name, end]) => moved.includes(name) && moves[name] * end > 0)) continue;
      const alone = point.map((one) => shapes[key([one])]);
      if (!prices || alone.some((one) => !one)) return null;
      const beyond = less(less(less(shapes[key(point)], today), less(alone[0], today)), less(alone[1], today));
      add(beyond, point.reduce((part, [name, end]) => part * (moves[name] / end), 1));
    }
    const median = Math.exp(total[0]);
    return [median * Math.exp(-Math.max(total[1], 0)), median, median * Math.exp(Math.max(total[2], 0))];
  }

  function sliders() {
    const part = document.getElementById("sliders");
    if (!part) return;
    const surface = JSON.parse(document.getElementById("surface").textContent);
    const inputs = [...part.querySelectorAll("input[data-input]")];
    const signed = (value, digits) => `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(digits)}`;
    const show = () => {
      const moves = {};
      for (const input of inputs) {
        const move = Number(input.value), start = Number(input.dataset.start), percent = input.dataset.by === "percent";
        moves[input.dataset.input] = move;
        const value = percent ? start * (1 + move / 100) : start + move;
        const text = `${percent ? `${signed(move, 0)}%` : signed(move, 1)}: ${Number(value.toPrecision(4))} ${input.dataset.unit}`;
        document.getElementById(`shown-${input.dataset.input}`).textContent = text;
        input.setAttribute("aria-valuetext", text);
      }
      for (const row of part.querySelectorAll("tr[data-horizon]")) {
        const own = surface[row.dataset.horizon];
        const answer = own ? surfaceAnswer(own.points, moves) : null;
        const today = own ? surfaceAnswer(own.points, {}) : null;
        const texts = answer
          ? { p50: answer[1].toFixed(2), change: signed(answer[1] - today[1], 2), band: `${answer[0].toFixed(2)} to ${answer[2].toFixed(2)}` }
          : { p50: "not known", change: "not known", band: "not known" };
        for (const cell of row.querySelectorAll("[data-answer]")) {
          cell.textContent = texts[cell.dataset.answer];
          cell.classList.toggle("missing", !answer);
        }
      }
    };
    for (const input of inputs) input.addEventListener("input", show);
    document.getElementById("sliders-back").addEventListener("click", () => {
      for (const input of inputs) input.value = 0;
      show();
    });
    show();
    part.hidden = false;
  }

  /* on a phone the newest part of a chart is at its right */
  function newest() {
    for (const plot of document.querySelectorAll(".plot")) plot.scrollLeft = plot.scrollWidth;
  }

  function start() {
    newest();
    filters();
    sliders();
    for (const button of document.querySelectorAll("button[data-chart]"))
      button.addEventListener("click", () => interactive(button));
  }

  document.addEventListener("DOMContentLoaded", start);
  return { chart: (name, specification) => { specifications[name] = specification; }, surfaceAnswer };
})();
