// DOM nodes. Whatever comes from the service goes in as text, and never becomes markup.

/** Return an element with attributes, listeners (`onclick: function`) and children (nodes or strings). */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Return an SVG element. */
export function drawing(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Return the element of an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Show an error's words in an element, or hide it where there is none. */
export function showError(node, error) {
  node.hidden = error === null;
  node.textContent = error === null ? "" : error.message;
}
