// The load now: figures of /metrics once a second, while anybody looks.

import { byId, showError } from "./elements.js";
import { sumsOf } from "./exposition.js";
import { Plot } from "./plot.js";

const PERIOD_MS = 1000;
const NOT_TOLD = "not told by this backend";

/** Return the difference of a counter between two readings; 0 after it began anew. */
function grown(name, now, before) {
  return Math.max(0, (now.get(name) ?? 0) - (before.get(name) ?? 0));
}

function mean(name, now, before, factor) {
  const count = grown(`${name}_count`, now, before);
  return count === 0 ? null : (grown(`${name}_sum`, now, before) / count) * factor;
}

/** Name, unit, and the value of two readings that are `s` seconds apart. */
const FIGURES = [
  ["Requests running", "", (now) => now.get("num_requests_running")],
  ["Requests waiting", "", (now) => now.get("num_requests_waiting")],
  ["Tokens a second", "", (now, before, s) => grown("inter_token_latency_seconds_count", now, before) / s],
  ["Time to first token, mean", " ms", (now, before) => mean("time_to_first_token_seconds", now, before, 1000)],
  ["KV cache in use", " %", (now) => percent(now.get("kv_cache_usage_perc"))],
  ["Proofs under way", "", (now) => now.get("num_proofs_running") ?? 0],
];

function percent(share) {
  return share === undefined ? undefined : share * 100;
}

export class LoadView {
  #plots = FIGURES.map(([name, unit]) => new Plot(name, unit, NOT_TOLD));
  #before = null;
  #timer = null;

  constructor(service) {
    this.service = service;
    byId("plots").append(...this.#plots.map((plot) => plot.node));
  }

  /** Begin or end to read. */
  set isShown(isShown) {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (isShown) this.#read();
    else this.#before = null;
  }

  async #read() {
    const timer = setTimeout(() => this.#timer === timer && this.#read(), PERIOD_MS);
    this.#timer = timer;
    if (document.hidden) return;
    try {
      const now = { sums: sumsOf(await this.service.get("/metrics")), time: performance.now() };
      showError(byId("load-error"), null);
      if (this.#before !== null && this.#timer === timer) this.#add(now, this.#before);
      this.#before = now;
    } catch (error) {
      showError(byId("load-error"), error);
      this.#before = null;
    }
  }

  #add(now, before) {
    const passedS = (now.time - before.time) / 1000;
    FIGURES.forEach(([, , value], index) => this.#plots[index].add(value(now.sums, before.sums, passedS)));
  }
}
