// Copying, where the browser lets a page do it, and a selection to copy by hand where it does not.

import { element } from "./elements.js";

/** Return a button that copies what `text()` returns; `shown` holds the same text on the page. */
export function copyButton(label, text, shown) {
  const button = element("button", { type: "button", onclick: copy }, label);
  const said = element("span", { class: "status", role: "status" });

  async function copy() {
    try {
      await navigator.clipboard.writeText(text());
      said.textContent = "copied";
    } catch { // not a secure context, or not allowed
      getSelection().selectAllChildren(shown);
      said.textContent = "selected: copy it with Ctrl and C";
    }
  }
  return element("span", { class: "copy" }, button, said);
}
