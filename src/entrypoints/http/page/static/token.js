// The bearer token: in this tab's session storage, and nowhere else.

const KEY = "llm-inference-service.token";

/** Keeps the token, and tells who listens when one is needed. */
export class Token extends EventTarget {
  get value() {
    return sessionStorage.getItem(KEY) ?? "";
  }

  set value(token) {
    if (token === "") sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
    this.dispatchEvent(new Event("change"));
  }

  /** Say that the service refused a call for want of a token. */
  refuse() {
    this.dispatchEvent(new Event("needed"));
  }
}

/** Bind the token to its form, which shows itself when it is needed. */
export function bindTokenForm(token, form) {
  const input = form.querySelector("input");
  form.hidden = token.value === "";
  input.value = token.value;
  token.addEventListener("needed", () => {
    form.hidden = false;
    input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token.value = input.value.trim();
  });
  form.querySelector("[type=button]").addEventListener("click", () => {
    input.value = "";
    token.value = "";
  });
}
