// One figure over time: a line in SVG, its latest value, and the same in words.

import { drawing, element } from "./elements.js";

const WIDTH = 240;
const HEIGHT = 64;
const NUM_POINTS = 120;

export class Plot {
  #values = [];
  #now = element("p", { class: "now" }, "…");
  #line = drawing("path", { class: "line" });
  #dots = drawing("path", { class: "dots" });
  #area = drawing("path", { class: "area" });
  #top = element("p", { class: "top" });
  #drawing = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    this.#area, this.#line, this.#dots);

  /** `name`: of the figure; `unit`: behind each value; `absent`: said where the service does not tell it. */
  constructor(name, unit, absent) {
    this.name = name;
    this.unit = unit;
    this.absent = absent;
    this.node = element("figure", {}, element("figcaption", {}, name), this.#now, this.#drawing, this.#top);
  }

  /** Add a value: a number, null for a moment without one, or undefined where there never is one. */
  add(value) {
    this.#values = [...this.#values, value ?? null].slice(-NUM_POINTS);
    const known = this.#values.filter((one) => one !== null);
    const highest = Math.max(0, ...known);
    const last = known.at(-1);
    this.#now.textContent = last === undefined ? (value === undefined ? this.absent : "none yet") : this.#said(last);
    this.#top.textContent = last === undefined ? "" : `at most ${this.#said(highest)}`;
    const words = last === undefined ? this.#now.textContent : `now ${this.#said(last)}, at most ${this.#said(highest)}`;
    this.#drawing.setAttribute("aria-label", `${this.name}: ${words}`);
    this.#draw(highest || 1);
  }

  #said(value) {
    const digits = value !== 0 && value < 10 && !Number.isInteger(value) ? 1 : 0;
    return `${value.toFixed(digits)}${this.unit}`;
  }

  #draw(highest) {
    const start = NUM_POINTS - this.#values.length;
    const points = this.#values.map((value, index) => value === null ? null : {
      x: ((start + index) * WIDTH) / (NUM_POINTS - 1), y: HEIGHT - 2 - (value / highest) * (HEIGHT - 6) });
    const stretches = unbroken(points);
    this.#line.setAttribute("d", stretches.map(path).join(""));
    this.#dots.setAttribute("d", stretches.filter((stretch) => stretch.length === 1).map(path).join(""));
    this.#area.setAttribute("d", stretches.map((stretch) =>
      `${path([{ x: stretch[0].x, y: HEIGHT }, ...stretch, { x: stretch.at(-1).x, y: HEIGHT }])}Z`).join(""));
  }
}

/** Return the stretches of points between moments without a value. */
function unbroken(points) {
  const stretches = [];
  points.forEach((point, index) => {
    if (point === null) return;
    if (index > 0 && points[index - 1] !== null) stretches.at(-1).push(point);
    else stretches.push([point]);
  });
  return stretches;
}

/** A line through points; one point alone is a dot, by the round ends of a line of no length. */
function path(points) {
  const drawn = points.length === 1 ? [points[0], points[0]] : points;
  return `M${drawn.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
}
