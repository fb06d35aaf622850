// The OpenAPI document for a person: paths, fields, replies and examples.

import { copyButton } from "./clipboard.js";
import { byId, element, showError } from "./elements.js";
import { Service } from "./service.js";
import { Token } from "./token.js";

const REF = "#/components/schemas/";

try {
  const service = new Service(new Token());
  const api = JSON.parse(await service.get("/openapi.json"));
  byId("version").textContent = api.info.version;
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => operationNode(service, method.toUpperCase(), path, operation)));
  byId("operations").append(...operations);
  byId("types").append(...Object.entries(api.components.schemas).map(([name, schema]) => typeNode(name, schema)));
  openTarget();
  addEventListener("hashchange", openTarget);
} catch (error) {
  showError(byId("service-error"), error);
}

function openTarget() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus();
  }
}

function operationNode(service, method, path, operation) {
  const media = operation.requestBody?.content["application/json"];
  const parts = [];
  if (operation.security) parts.push(element("p", { class: "hint" }, "Wants a bearer token."));
  if (operation.parameters) {
    const rows = operation.parameters.map((one) => [code(one.name), one.in, type(one.schema), one.description]);
    parts.push(element("h3", {}, "Parameters"), table("Parameters", ["name", "in", "type", "what"], rows));
  }
  if (media) parts.push(element("h3", {}, "Body"), element("p", {}, type(media.schema)));
  if (media?.example) parts.push(...exampleNodes(service, method, path, media.example));
  const replies = Object.entries(operation.responses).map(([status, { description, content = {} }]) => {
    const forms = Object.entries(content).flatMap(([name, { schema }], index) => [index ? ", " : "", `${name}: `, type(schema)]);
    return [code(status), description, element("span", {}, ...forms)];
  });
  parts.push(element("h3", {}, "Replies"), table("Replies", ["status", "", "body"], replies));
  const title = [element("span", { class: "method" }, method), " ", code(path), " ", element("span", { class: "what" }, operation.summary)];
  return element("details", { id: `${method} ${path}`, class: "operation" }, element("summary", {}, ...title), ...parts);
}

function exampleNodes(service, method, path, body) {
  const { curl } = service.exchange(method, path, { body });
  const shown = element("pre", { tabindex: 0, role: "region", "aria-label": `Example of ${path}` }, curl);
  return [element("h3", {}, "Example"), shown, copyButton("Copy as curl", () => curl, shown)];
}

function typeNode(name, schema) {
  const title = [code(name), " ", element("span", { class: "what" }, schema.properties ? "" : kind(schema))];
  const required = schema.required ?? [];
  const rows = Object.entries(schema.properties ?? {}).map(([field, one]) => [
    code(field), type(one), required.includes(field) ? "required" : defaultOf(one), one.description ?? ""]);
  const parts = [element("p", {}, schema.description ?? "")];
  if (rows.length) parts.push(table(`Fields of ${name}`, ["field", "type", "", "what"], rows));
  if (schema.enum) parts.push(element("p", {}, "one of ", code(JSON.stringify(schema.enum))));
  return element("details", { id: name }, element("summary", {}, ...title), ...parts);
}

/** Return a schema's type in words, with links to the types that it names. */
function type(schema) {
  if (schema.$ref) {
    const name = schema.$ref.replace(REF, "");
    return element("a", { href: `#${name}` }, name);
  }
  if (schema.if) return element("span", {}, ...condition(schema));
  const branches = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (branches) {
    const between = schema.allOf ? ", and " : " or ";
    return element("span", {}, ...branches.flatMap((branch, index) => [index ? between : "", type(branch)]));
  }
  if (schema.items) return element("span", {}, "list of ", type(schema.items));
  return element("span", {}, kind(schema));
}

/** A schema whose fields have a type of their own unless another field has a value. */
function condition(schema) {
  const unless = Object.entries(schema.if.properties).map(([name, { const: value }]) => `${name} is ${value}`);
  const fields = Object.entries(schema.else?.properties ?? {}).flatMap(([name, one]) => [" ", code(name), " is ", type(one)]);
  return [`unless ${unless.join(" and ")},`, ...fields];
}

function kind(schema) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const limits = [["minimum", "≥"], ["exclusiveMinimum", ">"], ["maximum", "≤"], ["exclusiveMaximum", "<"]]
    .filter(([name]) => schema[name] !== undefined).map(([name, sign]) => ` ${sign} ${schema[name]}`);
  return `${[schema.type ?? schema.description ?? "anything"].flat().join(" or ")}${limits.join(",")}`;
}

function defaultOf(schema) {
  return schema.default === undefined || schema.default === null ? "" : `default ${JSON.stringify(schema.default)}`;
}

function code(text) {
  return element("code", {}, text);
}

function table(label, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element(text ? "th" : "td", {}, text)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  const node = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, node);
}
