// One request at a time, that can be stopped: buttons, status and Escape.

/** Runs work for a form; its buttons say what can be done. */
export class Running {
  #abort = null;

  constructor(start, stop, status) {
    this.start = start;
    this.stopButton = stop;
    this.status = status;
    stop.addEventListener("click", () => this.stop());
  }

  /** Say that work can be begun. */
  allow() {
    this.start.disabled = this.isOn;
  }

  get isOn() {
    return this.#abort !== null;
  }

  stop() {
    this.#abort?.abort();
  }

  /** Do `work(signal)`; returns what it returns, or null where it was stopped. */
  async run(work) {
    this.#abort = new AbortController();
    this.#set(true);
    try {
      return await work(this.#abort.signal);
    } catch (error) {
      if (error.name === "AbortError") return null;
      throw error;
    } finally {
      this.#abort = null;
      this.#set(false);
    }
  }

  #set(isOn) {
    const hadFocus = document.activeElement === this.stopButton;
    this.start.disabled = isOn;
    this.stopButton.disabled = !isOn;
    if (!isOn && hadFocus) this.start.focus();
  }
}
