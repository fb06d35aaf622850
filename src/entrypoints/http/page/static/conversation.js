// The turns so far, in the form of each API.

export class Conversation {
  #turns = [];

  add(message, answer) {
    this.#turns.push({ message, answer });
  }

  /** As the `history` of an LLMRequest. */
  get history() {
    return this.#turns.flatMap(({ message, answer }) => [{ player: message }, { bot: answer }]);
  }

  /** As the `messages` of OpenAI's API, the new one last. */
  messagesWith(text) {
    const earlier = this.#turns.flatMap(({ message, answer }) => [
      { role: "user", content: message }, { role: "assistant", content: answer }]);
    return [...earlier, { role: "user", content: text }];
  }
}
