// Shows an exchange raw: the request, the reply, and the curl command that does the same.

import { copyButton } from "./clipboard.js";
import { element } from "./elements.js";

const MAX_SHOWN = 20_000;

export class ExchangePanel {
  #curl = pane("As a curl command");
  #request = pane("Request");
  #reply = pane("Reply");
  #exchange = null;

  constructor(place, title = "Raw request and reply") {
    const copyCurl = copyButton("Copy as curl", () => this.#exchange.curl, this.#curl);
    const copyReply = copyButton("Copy reply", () => this.#exchange.replyBody, this.#reply);
    this.node = element("details", { class: "raw", hidden: true },
      element("summary", {}, title),
      element("div", { class: "row buttons" }, copyCurl, copyReply),
      element("p", { class: "hint", hidden: true }, "The token is left to the shell's variable LLM_TOKEN."),
      ...[this.#curl, this.#request, this.#reply].flatMap((node) => [element("h3", {}, node.ariaLabel), node]));
    place.append(this.node);
  }

  /** Show an exchange; call it again as the reply comes. */
  show(exchange) {
    this.#exchange = exchange;
    this.node.hidden = false;
    this.node.querySelector(".hint").hidden = !exchange.curl.includes("$LLM_TOKEN");
    this.#curl.textContent = exchange.curl;
    this.#request.textContent = shortened(exchange.requestText);
    this.#reply.textContent = shortened(exchange.replyText);
  }
}

function pane(label) {
  return element("pre", { tabindex: 0, role: "region", "aria-label": label });
}

function shortened(text) {
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}
