// The model's answer without a workflow: OpenAI's chat completions, as server-sent events.

import { ServiceError } from "./service_error.js";

export class ModelStream {
  path = "/v1/chat/completions";
  label = "/v1/chat/completions (the model itself)";

  body(conversation, text, parameters) {
    return { messages: conversation.messagesWith(text), stream: true, ...parameters };
  }

  /** Yield the answer so far, again and again. Throws ServiceError where it broke off. */
  async *answers(exchange) {
    let answer = "";
    for await (const event of events(exchange.pieces())) {
      if (event === "[DONE]") return;
      const content = JSON.parse(event);
      if (content.error) throw ServiceError.ofStream(content.error);
      answer += content.choices[0]?.delta?.content ?? "";
      yield answer;
    }
  }
}

/** Yield the data of each event, whatever pieces the events come in. */
async function* events(pieces) {
  let rest = "";
  for await (const piece of pieces) {
    const parts = (rest + piece).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length > 0) yield data.map((line) => line.slice(5).trim()).join("\n");
    }
  }
}
