// One request to any workflow: its whole reply, and the proof where there is one.

import { byId, element, showError } from "./elements.js";
import { ExchangePanel } from "./exchange_panel.js";
import { ProofPanel } from "./proof_panel.js";
import { Running } from "./running.js";

export class DecisionView {
  #panel = new ExchangePanel(byId("decision-exchange"));
  #running = new Running(byId("decide"), byId("decision-stop"), byId("decision-status"));
  #workflows = [];

  constructor(service) {
    this.service = service;
    byId("decision-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    byId("decision-workflow").addEventListener("change", () => this.#choose());
    byId("decision-view").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#running.stop();
    });
  }

  /** Offer all workflows, those first that prove. */
  offer(workflows) {
    const proves = (workflow) => Number(workflow.proofs !== "never");
    this.#workflows = [...workflows].sort((one, other) => proves(other) - proves(one));
    const options = this.#workflows.map((workflow, index) => element("option", { value: index }, workflow.name));
    byId("decision-workflow").replaceChildren(...options);
    this.#running.allow();
    this.#choose();
  }

  get #workflow() {
    return this.#workflows[Number(byId("decision-workflow").value)];
  }

  #choose() {
    const workflow = this.#workflow;
    if (workflow === undefined) return;
    const proof = byId("requires-proof");
    proof.disabled = workflow.proofs !== "on_request";
    proof.checked = workflow.proofs !== "never";
    byId("decision-label").textContent = workflow.is_conversation ? "Message" : `Data (${workflow.takes}), as JSON`;
  }

  async #ask() {
    if (this.#running.isOn || this.#workflow === undefined) return;
    const status = this.#running.status;
    byId("decision-reply").replaceChildren();
    byId("proof").replaceChildren();
    try {
      showError(byId("decision-error"), null);
      const body = { source: 1, data: this.#data(), requires_proof: byId("requires-proof").checked };
      if (!body.requires_proof) delete body.requires_proof;
      const exchange = this.service.exchange("POST", this.#workflow.path, { body });
      status.textContent = body.requires_proof ? "answering and proving" : "answering";
      const began = performance.now();
      this.#panel.show(exchange);
      const text = await this.#running.run(async (signal) => {
        try {
          await exchange.send(signal);
          return await exchange.text();
        } finally {
          this.#panel.show(exchange);
        }
      });
      const isStopped = text === null;
      status.textContent = isStopped ? "stopped" : `done after ${((performance.now() - began) / 1000).toFixed(2)} s`;
      if (!isStopped) this.#show(JSON.parse(text));
    } catch (error) {
      status.textContent = "";
      showError(byId("decision-error"), error);
    }
  }

  #data() {
    const input = byId("decision-input").value;
    if (this.#workflow.is_conversation) {
      return { text: input, key: "page", messageId: crypto.randomUUID?.() ?? String(Date.now()), history: [] };
    }
    try {
      return JSON.parse(input);
    } catch {
      throw new Error("The data is not JSON.");
    }
  }

  #show(reply) {
    const { proof, ...rest } = typeof reply === "object" ? reply : { reply };
    byId("decision-reply").replaceChildren(element("h3", {}, "Reply"), fields(rest));
    if (proof) new ProofPanel(this.service, byId("proof"), reply);
  }
}

/** Four digits of a number are enough to read; the raw reply has all. */
function shortened(_, value) {
  return typeof value === "number" ? Number(value.toPrecision(4)) : value;
}

function fields(reply) {
  const rows = Object.entries(reply).flatMap(([name, value]) => [
    element("dt", {}, name), element("dd", {}, value instanceof Object ? JSON.stringify(value, shortened) : String(value))]);
  return element("dl", { class: "fields" }, ...rows);
}
