// A workflow's answer as a stream of raw text: an InfernetInput with destination 2.

import { ServiceError } from "./service_error.js";

const BROKEN_OFF = "\n\n[stream broken off] ";

export class WorkflowStream {
  constructor(workflow) {
    this.path = workflow.path;
    this.label = workflow.name === "default" ? `${workflow.path} (the default workflow)` : workflow.path;
  }

  body(conversation, text, parameters) {
    const data = { text, key: "page", messageId: crypto.randomUUID?.() ?? String(Date.now()),
      history: conversation.history };
    if (Object.keys(parameters).length > 0) data.parameters = parameters;
    return { source: 1, destination: 2, data };
  }

  /** Yield the answer so far, again and again. Throws ServiceError where it broke off. */
  async *answers(exchange) {
    let answer = "";
    for await (const piece of exchange.pieces()) {
      answer += piece;
      yield answer.split(BROKEN_OFF)[0];
    }
    const [, error] = answer.split(BROKEN_OFF);
    if (error !== undefined) throw ServiceError.ofStream(contentOf(error));
  }
}

function contentOf(json) {
  try {
    return JSON.parse(json);
  } catch {
    return { description: json };
  }
}
