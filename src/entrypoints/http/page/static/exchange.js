// One request and its reply, as they went over the wire.

import { ServiceError, UNREACHABLE } from "./service_error.js";

const SHOWN_HEADERS = ["content-type", "x-model-id", "x-prompt-tokens", "x-completion-tokens", "x-finish-reason",
  "retry-after", "idempotent-replayed", "x-request-id"];

export class Exchange {
  /** `body`: what is sent as JSON; undefined: nothing. `isStream`: whether the reply comes in pieces. */
  constructor(method, url, { body, token, isStream = false }) {
    this.method = method;
    this.url = url;
    this.body = body === undefined ? null : JSON.stringify(body);
    this.isStream = isStream;
    this.status = null;
    this.replyHeaders = [];
    this.replyBody = "";
    this.#token = token;
  }

  #token;
  #response = null;

  /** Send it; returns when the reply's headers are there. Throws ServiceError where they tell of an error. */
  async send(signal) {
    const headers = {};
    if (this.body !== null) headers["Content-Type"] = "application/json";
    if (this.#token.value !== "") headers.Authorization = `Bearer ${this.#token.value}`;
    try {
      this.#response = await fetch(this.url, { method: this.method, headers, body: this.body, signal });
    } catch (error) {
      throw translated(error);
    }
    const { status, ok, headers: received } = this.#response;
    this.status = status;
    this.replyHeaders = SHOWN_HEADERS.filter((name) => received.has(name)).map((name) => [name, received.get(name)]);
    if (ok) return;
    await this.text();
    if (status === 401) this.#token.refuse();
    throw ServiceError.ofReply(status, this.replyBody, received.get("retry-after"));
  }

  /** Yield the reply's body as it comes. */
  async *pieces() {
    const reader = this.#response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.replyBody += value;
        yield value;
      }
    } catch (error) {
      throw translated(error);
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** Return the reply's whole body. */
  async text() {
    for await (const _ of this.pieces());
    return this.replyBody;
  }

  /** Return the request as a person writes HTTP. */
  get requestText() {
    const lines = [`${this.method} ${this.url}`];
    if (this.body !== null) lines.push("Content-Type: application/json");
    if (this.#token.value !== "") lines.push("Authorization: Bearer (your token)");
    return this.body === null ? lines.join("\n") : `${lines.join("\n")}\n\n${pretty(this.body)}`;
  }

  /** Return what has come of the reply. */
  get replyText() {
    if (this.status === null) return "(no reply)";
    const lines = [`HTTP ${this.status}`, ...this.replyHeaders.map(([name, value]) => `${name}: ${value}`)];
    return `${lines.join("\n")}\n\n${this.replyBody}`;
  }

  /** Return a shell command that sends the same. The token is left to a variable of the shell. */
  get curl() {
    const words = ["curl", this.isStream ? "--no-buffer" : "", "-X", this.method, quoted(this.url)].filter(Boolean);
    const lines = [words.join(" ")];
    if (this.#token.value !== "") lines.push('-H "Authorization: Bearer $LLM_TOKEN"');
    if (this.body !== null) lines.push(`-H ${quoted("Content-Type: application/json")}`, `-d ${quoted(this.body)}`);
    return lines.join(" \\\n  ");
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function pretty(json) {
  return JSON.stringify(JSON.parse(json), null, 2);
}

function translated(error) {
  if (error instanceof ServiceError || error.name === "AbortError") return error;
  return new ServiceError(UNREACHABLE);
}
