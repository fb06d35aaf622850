// Starts the page: which view is shown, what is served, and the token.

import { Chat } from "./chat.js";
import { DecisionView } from "./decision.js";
import { byId, showError } from "./elements.js";
import { LoadView } from "./load.js";
import { Service } from "./service.js";
import { bindTokenForm, Token } from "./token.js";

const RETRY_MS = 2000;
const VIEWS = ["chat", "decision", "load"];

const token = new Token();
const service = new Service(token);
const chat = new Chat(service);
const decision = new DecisionView(service);
const load = new LoadView(service);

function viewed() {
  const asked = location.hash.slice(1);
  return VIEWS.includes(asked) ? asked : VIEWS[0];
}

function show({ isFocused }) {
  const shown = viewed();
  for (const view of VIEWS) {
    byId(`${view}-view`).hidden = view !== shown;
    const link = document.querySelector(`nav a[href="#${view}"]`);
    if (view === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  load.isShown = shown === "load";
  if (isFocused) byId(`${shown}-title`).focus();
}

async function begin() {
  try {
    const { model, provider } = JSON.parse(await service.get("/health/ready"));
    byId("model").textContent = provider === null ? model : `${model} on ${provider.replace("ExecutionProvider", "")}`;
    const { workflows } = JSON.parse(await service.get("/workflows"));
    chat.offer(workflows);
    decision.offer(workflows);
    showError(byId("service-error"), null);
  } catch (error) {
    showError(byId("service-error"), error);
    if (error.status !== 401) setTimeout(begin, RETRY_MS); // it may be starting; a token is asked for instead
  }
}

bindTokenForm(token, byId("token-form"));
token.addEventListener("change", begin);
addEventListener("hashchange", () => {
  if (location.hash !== "#main") show({ isFocused: true });
});
show({ isFocused: false });
await begin();
