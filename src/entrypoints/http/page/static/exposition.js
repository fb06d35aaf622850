// Prometheus' text format, as far as the page needs it.

/** Return each series' sum over its labels, by its name without the prefix before the colon. */
export function sumsOf(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const name = line.slice(line.indexOf(":") + 1).split(/[{ ]/, 1)[0];
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    sums.set(name, (sums.get(name) ?? 0) + value);
  }
  return sums;
}
