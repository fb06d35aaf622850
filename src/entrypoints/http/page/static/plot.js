// One figure over time: a line in SVG, its latest value, and the same in words.

import { drawing, element } from "./elements.js";

const WIDTH = 240;
const HEIGHT = 64;
const NUM_POINTS = 120;

export class Plot {
  #values = [];
  #now = element("p", { class: "now" }, "…");
  #line = drawing("path", { class: "line" });
  #area = drawing("path", { class: "area" });
  #top = element("p", { class: "top" });
  #drawing = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    this.#area, this.#line);

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
    const step = WIDTH / (NUM_POINTS - 1);
    const start = NUM_POINTS - this.#values.length;
    const points = this.#values.flatMap((value, index) => value === null ? [] :
      [`${((start + index) * step).toFixed(1)} ${(HEIGHT - 2 - (value / highest) * (HEIGHT - 6)).toFixed(1)}`]);
    this.#line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    const [first, last] = [points[0], points.at(-1)].map((point) => point?.split(" ")[0]);
    this.#area.setAttribute("d", points.length ? `M${first} ${HEIGHT}L${points.join("L")}L${last} ${HEIGHT}Z` : "");
  }
}
