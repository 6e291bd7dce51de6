"use strict";
// Values under the pointer, logarithmic scales, and curves that can be hidden; without it the page reads the same.
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  const short = (value) => {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size < 1e-3 || size >= 1e9) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
    if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
    if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
    return String(Number(value.toPrecision(4)));
  };

  const ticksOf = (low, high) => {
    const raw = (high - low) / 5;
    const base = 10 ** Math.floor(Math.log10(raw));
    const step = base * [1, 2, 5, 10].find((factor) => factor * base >= raw * (1 - 1e-9));
    const ticks = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) ticks.push(Number((n * step).toPrecision(12)));
    return ticks;
  };

  const logTicksOf = (low, high) => {
    const factors = high / low > 1e3 ? [1] : high / low > 20 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
      for (const factor of factors) {
        const tick = factor * 10 ** power;
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    return ticks;
  };

  const element = (name, attributes, parent) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };

  const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, n) => [flat[2 * n], flat[2 * n + 1]]);

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.svg = figure.querySelector("svg");
      [this.left, this.top, this.right, this.bottom] = this.svg.dataset.box.split(" ").map(Number);
      const data = JSON.parse(figure.querySelector("script").textContent);
      this.series = data.series.map(pairs);
      this.means = data.means.map(pairs);
      this.groups = [...this.svg.querySelectorAll(".series")];
      this.keys = [...figure.querySelectorAll(".key")];
      this.names = this.keys.map((key) => key.querySelector(".name").textContent);
      this.isShown = this.series.map(() => true);
      this.isLog = false;
      const xs = this.series.flat().map(([x]) => x);
      [this.xLow, this.xHigh] = this.room(xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b)), 0);
      this.offerKeys();
      if (this.series.every((points) => points.every(([, y]) => y > 0))) this.offerLog();
      this.offerValues();
    }

    room(low, high, margin) {
      if (high - low <= Math.abs(high) * 1e-12) {
        const half = Math.abs(high) * 0.1 || 1;
        return [low - half, high + half];
      }
      return [low - (high - low) * margin, high + (high - low) * margin];
    }

    offerKeys() {
      this.keys.forEach((key, n) => {
        key.disabled = false;
        key.title = "hide or show";
        key.addEventListener("click", () => {
          this.isShown[n] = !this.isShown[n];
          key.setAttribute("aria-pressed", String(this.isShown[n]));
          this.draw();
        });
      });
    }

    offerLog() {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "scale";
      button.textContent = "log";
      button.title = "logarithmic scale";
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        this.isLog = !this.isLog;
        button.setAttribute("aria-pressed", String(this.isLog));
        this.draw();
      });
      this.figure.querySelector("figcaption").append(button);
    }

    x(step) {
      return this.left + ((step - this.xLow) / (this.xHigh - this.xLow)) * (this.right - this.left);
    }

    draw() {
      const of = (value) => (this.isLog ? Math.log10(value) : value);
      const shown = this.series.filter((_, n) => this.isShown[n]);
      const ys = (shown.length ? shown : this.series).flat().map(([, y]) => of(y));
      const [low, high] = this.room(ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b)), 0.05);
      const y = (value) => this.bottom - ((of(value) - low) / (high - low)) * (this.bottom - this.top);
      const ticks = this.isLog ? logTicksOf(10 ** low, 10 ** high) : ticksOf(low, high);
      const grid = this.svg.querySelector(".grid");
      const labels = this.svg.querySelector(".labels.y");
      grid.replaceChildren();
      labels.replaceChildren();
      for (const tick of ticks) {
        element("path", { d: `M${this.left},${y(tick)}H${this.right}` }, grid);
        element("text", { x: this.left - 7, y: y(tick) + 3.5 }, labels).textContent = short(tick);
      }
      this.groups.forEach((group, n) => {
        group.style.display = this.isShown[n] ? "" : "none";
        const path = (points) => `M${points.map(([step, value]) => `${this.x(step).toFixed(1)},${y(value).toFixed(1)}`).join("L")}`;
        group.querySelector(".curve").setAttribute("d", path(this.series[n]));
        group.querySelector(".mean")?.setAttribute("d", path(this.means[n]));
        group.querySelectorAll("circle").forEach((dot, at) => dot.setAttribute("cy", y(this.series[n][at][1])));
      });
    }

    offerValues() {
      const tip = document.createElement("div");
      tip.className = "tip";
      tip.hidden = true;
      this.figure.append(tip);
      const cursor = element("path", { class: "cursor", visibility: "hidden" }, this.svg);
      const hide = () => {
        tip.hidden = true;
        cursor.setAttribute("visibility", "hidden");
      };
      this.svg.addEventListener("pointerleave", hide);
      this.svg.addEventListener("pointermove", (event) => {
        const box = this.svg.getBoundingClientRect();
        const at = ((event.clientX - box.left) / box.width) * this.svg.viewBox.baseVal.width;
        const wanted = this.xLow + ((at - this.left) / (this.right - this.left)) * (this.xHigh - this.xLow);
        const found = this.nearest(wanted);
        if (at < this.left || at > this.right || !found.length) return hide();
        const step = found.reduce((best, [, [x]]) => (Math.abs(x - wanted) < Math.abs(best - wanted) ? x : best), Infinity);
        cursor.setAttribute("d", `M${this.x(step)},${this.top}V${this.bottom}`);
        cursor.setAttribute("visibility", "visible");
        tip.replaceChildren();
        for (const line of [`step ${step}`, ...found.map(([n, [x, y]]) => `${this.names[n]}: ${short(y)}${x === step ? "" : ` (step ${x})`}`)]) {
          const row = document.createElement("div");
          row.textContent = line;
          tip.append(row);
        }
        tip.hidden = false;
        const inside = event.clientX - this.figure.getBoundingClientRect().left;
        const isRight = inside > box.width * 0.55;
        tip.style.left = isRight ? "" : `${inside + 16}px`;
        tip.style.right = isRight ? `${this.figure.clientWidth - inside + 16}px` : "";
        tip.style.top = "44px";
      });
    }

    nearest(wanted) {
      return this.series.flatMap((points, n) => {
        if (!this.isShown[n]) return [];
        const best = points.reduce((a, b) => (Math.abs(b[0] - wanted) < Math.abs(a[0] - wanted) ? b : a));
        return [[n, best]];
      });
    }
  }

  for (const figure of document.querySelectorAll("[data-chart]")) new Chart(figure);
})();
