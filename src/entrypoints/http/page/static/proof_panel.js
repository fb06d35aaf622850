// A reply's proof: instances and calldata decoded, checked by the service, and what that says.

import { decodedCalldata } from "./calldata.js";
import { copyButton } from "./clipboard.js";
import { element } from "./elements.js";
import { ExchangePanel } from "./exchange_panel.js";

const OF_GROUP = { input_hash: "Poseidon hash of the input", inputs: "input", outputs: "output",
  output_hash: "Poseidon hash of the output" };

export class ProofPanel {
  #words = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Calldata, word by word" });
  #verdict = element("div", { id: "verdict", role: "status" });
  #calldata = element("textarea", { id: "calldata", rows: 4, spellcheck: "false", class: "hex" });
  #panel;

  constructor(service, place, reply) {
    this.service = service;
    this.reply = reply;
    const { proof } = reply;
    this.#calldata.value = proof.calldata.verifyProof;
    this.#calldata.addEventListener("input", () => this.#decode());
    const verify = element("button", { type: "button", class: "primary", onclick: () => this.#verify(verify) },
      "Verify this calldata");
    place.replaceChildren(
      element("h3", {}, "Proof"),
      element("p", { class: "hint" }, `Circuit ${proof.circuit_id}; made in ${proof.timings_ms.prove} ms.`),
      instancesTable(proof),
      element("label", { for: "calldata" }, "Calldata of verifyProof: change a digit, and see it refused"),
      this.#calldata,
      element("div", { class: "row buttons" },
        verify, copyButton("Copy calldata", () => this.#calldata.value, this.#calldata)),
      this.#verdict,
      statements(proof.statement),
      element("details", {}, element("summary", {}, "Calldata, word by word"), this.#words),
    );
    this.#panel = new ExchangePanel(place, "Raw request and reply of the check");
    this.#decode();
  }

  #decode() {
    try {
      const rows = decodedCalldata(this.#calldata.value).map(({ offset, text, meaning }) => [
        String(offset), meaning, element("code", {}, `0x${text}`)]);
      this.#words.replaceChildren(table(["byte", "what", "value"], rows));
    } catch (error) {
      this.#words.replaceChildren(element("p", { class: "error" }, error.message));
    }
  }

  async #verify(button) {
    const body = { calldata: this.#calldata.value.trim() };
    const exchange = this.service.exchange("POST", "/proofs/verify", { body });
    button.disabled = true;
    this.#verdict.replaceChildren("checking");
    try {
      await exchange.send();
      this.#verdict.replaceChildren(...findings(JSON.parse(await exchange.text()), this.reply));
    } catch (error) {
      this.#verdict.replaceChildren(element("p", { class: "error" }, error.message));
    } finally {
      button.disabled = false;
      this.#panel.show(exchange);
    }
  }
}

function instancesTable({ instances, values }) {
  const named = Object.entries(values).flatMap(([name, group]) => group.map((value) => [OF_GROUP[name] ?? name, value]));
  const rows = instances.map((felt, index) => {
    const [name, value] = named[index] ?? ["", ""];
    return [String(index), name, element("code", {}, felt), value === felt ? "the same" : String(value)];
  });
  const node = table(["", "instance", "field element", "stands for"], rows);
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Instances" }, node);
}

/** What the check found, and whether the reply around the proof says the same. */
function findings(verdict, reply) {
  if (!verdict.verified) {
    return [element("p", { class: "verdict refused" },
      "Refused: this is no proof of the circuit that is served here, with these instances.")];
  }
  const outputs = verdict.values.outputs ?? [];
  const labels = reply.probabilities ? Object.keys(reply.probabilities) : null;
  const agrees = (condition, right, wrong) => element("li", { class: condition ? "ok" : "bad" }, condition ? right : wrong);
  const found = [
    agrees(sameList(verdict.instances, reply.proof.instances),
      "The reply shows the instances of this calldata.", "The reply shows other instances than this calldata has."),
    agrees(verdict.circuit_id === reply.proof.circuit_id,
      `It is of the circuit that the reply names: ${verdict.circuit_id}.`, "It is of another circuit than the reply names."),
  ];
  if (labels && outputs.length === 1) {
    found.push(agrees(labels[outputs[0]] === reply.action, `Its output ${outputs[0]} is the reply's action: ${reply.action}.`,
      `Its output ${outputs[0]} is not the reply's action, ${reply.action}.`));
  }
  if (verdict.is_srs_insecure) {
    found.push(element("li", { class: "bad" },
      "This circuit is for tests: whoever made its reference string can forge such proofs."));
  }
  return [element("p", { class: "verdict holds" }, "Verified: the proof holds."), element("ul", {}, ...found)];
}

function statements(statement) {
  return element("div", { class: "statements" },
    element("div", {}, element("h4", {}, "Proved, where it is verified"), element("ul", {},
      element("li", {}, "The circuit's model, on an input with these instances, gives this output."))),
    element("div", {}, element("h4", {}, "Not proved"), element("ul", {},
      element("li", {}, "Where the input came from: that a language model made it, or made it from your message."),
      element("li", {}, "What stands beside the proof: vector, probabilities and rationale."),
      element("li", {}, "That it was made now: the same proof can be shown again."))),
    element("p", { class: "hint" }, `The reply says: ${statement}`));
}

function table(heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element(text === "" ? "td" : "th", { scope: text === "" ? null : "col" }, text)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function sameList(one, other) {
  return one.length === other.length && one.every((value, index) => value === other[index]);
}
