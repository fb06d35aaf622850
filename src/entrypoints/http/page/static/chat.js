// The chat: a conversation with a workflow, or with the model itself.

import { Conversation } from "./conversation.js";
import { byId, element } from "./elements.js";
import { ExchangePanel } from "./exchange_panel.js";
import { ModelStream } from "./model_stream.js";
import { Running } from "./running.js";
import { WorkflowStream } from "./workflow_stream.js";

export class Chat {
  #conversation = new Conversation();
  #panel = new ExchangePanel(byId("chat-exchange"));
  #running = new Running(byId("send"), byId("stop"), byId("chat-status"));
  #log = byId("log");
  #message = byId("message");
  #targets = [];

  constructor(service) {
    this.service = service;
    byId("chat-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("clear").addEventListener("click", () => this.#clear());
    this.#message.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!this.#running.isOn) byId("chat-form").requestSubmit();
      }
    });
    byId("chat-view").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#running.stop();
    });
  }

  /** Offer the workflows that take a conversation, and the model. */
  offer(workflows) {
    const conversing = workflows.filter((workflow) => workflow.is_conversation);
    this.#targets = [...conversing.map((workflow) => new WorkflowStream(workflow)), new ModelStream()];
    const options = this.#targets.map((target, index) => element("option", { value: index }, target.label));
    byId("chat-workflow").replaceChildren(...options);
    this.#running.allow();
  }

  async #send() {
    const text = this.#message.value;
    if (this.#running.isOn || text.trim() === "" || this.#targets.length === 0) return;
    const target = this.#targets[Number(byId("chat-workflow").value)];
    const conversation = this.#conversation; // of this answer, though another may begin before it ends
    const body = target.body(conversation, text, parameters());
    const exchange = this.service.exchange("POST", target.path, { body, isStream: true });
    const turn = new Turn(text);
    this.#log.append(...turn.nodes);
    this.#log.setAttribute("aria-busy", "true"); // spoken once it is whole
    this.#message.value = "";
    this.#scroll();
    try {
      await this.#answer(target, exchange, turn);
      if (turn.answer !== "") conversation.add(text, turn.answer);
    } catch (error) {
      turn.fail(error);
      this.#running.status.textContent = "";
      if (this.#message.value === "") this.#message.value = text; // to be sent again
    } finally {
      turn.end();
      this.#log.setAttribute("aria-busy", "false");
      this.#panel.show(exchange);
      this.#scroll();
    }
  }

  async #answer(target, exchange, turn) {
    const began = performance.now();
    const status = this.#running.status;
    let first = null;
    status.textContent = "waiting for the first token";
    const isWhole = await this.#running.run(async (signal) => {
      this.#panel.show(exchange);
      await exchange.send(signal);
      for await (const answer of target.answers(exchange)) {
        first ??= performance.now();
        turn.answer = answer;
        status.textContent = "answering";
        this.#panel.show(exchange);
        this.#scroll();
      }
      return true;
    });
    if (isWhole === null) turn.note("stopped");
    const times = [seconds("first text after", began, first), seconds("done after", began, performance.now())];
    status.textContent = (isWhole === null ? ["stopped", ...times.slice(0, 1)] : times).filter(Boolean).join(", ");
  }

  #clear() {
    this.#running.stop();
    this.#conversation = new Conversation();
    this.#log.replaceChildren();
    this.#running.status.textContent = "";
    this.#message.focus();
  }

  #scroll() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/** A message and its answer on the page. */
class Turn {
  #text = element("p", { class: "text" });
  #item;

  constructor(message) {
    this.#item = element("div", { class: "bot streaming" }, element("p", { class: "who" }, "Service"), this.#text);
    const asked = element("div", { class: "player" },
      element("p", { class: "who" }, "You"), element("p", { class: "text" }, message));
    this.nodes = [asked, this.#item];
  }

  get answer() {
    return this.#text.textContent;
  }

  set answer(text) {
    this.#text.textContent = text;
  }

  note(text) {
    this.#item.append(element("p", { class: "hint" }, text));
  }

  fail(error) {
    this.#item.append(element("p", { class: "error", role: "alert" }, error.message));
  }

  end() {
    this.#item.classList.remove("streaming");
  }
}

function parameters() {
  const given = { max_tokens: byId("max-tokens").valueAsNumber, temperature: byId("temperature").valueAsNumber };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => !Number.isNaN(value)));
}

function seconds(words, from, to) {
  return to === null ? "" : `${words} ${((to - from) / 1000).toFixed(2)} s`;
}
