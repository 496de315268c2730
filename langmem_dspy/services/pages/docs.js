// /openapi.json as a page. It loads nothing else, so that it also works where there is no internet.
import { at, element, pretty } from "./page.js";

const schema = await (await fetch("openapi.json")).json();

const resolved = (part) => (part?.$ref ? part.$ref.split("/").slice(1).reduce((at, name) => at[name], schema) : part);

function kind(part) {
  if (!part || !Object.keys(part).length) return "any";
  if (part.$ref) return part.$ref.split("/").pop();
  if (part.const !== undefined) return pretty(part.const);
  if (part.enum) return part.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = part.anyOf ?? part.oneOf;
  if (several) return several.map(kind).join(" | ");
  return part.type === "array" ? `list of ${kind(part.items)}` : (part.type ?? "any");
}

const row = (...cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
const table = (rows) => element("div", { className: "scroll" }, element("table", {}, ...rows));

function fields(part) {
  const { properties = {}, required = [] } = resolved(part) ?? {};
  return Object.entries(properties).map(([name, one]) =>
    row(element("code", {}, name + (required.includes(name) ? " *" : "")), element("code", {}, kind(one)), one.description ?? ""));
}

const shown = (example) => element("pre", {}, typeof example === "string" ? example : pretty(example));

function content(title, { content: kinds, description, headers } = {}) {
  const made = [element("h3", {}, title), element("p", { className: "faint" }, description ?? "")];
  const sent = Object.entries(headers ?? {}).map(([name, one]) => row(element("code", {}, name), one.description));
  if (sent.length) made.push(table(sent));
  for (const [type, { schema: part, example, examples }] of Object.entries(kinds ?? {})) {
    made.push(element("p", {}, element("code", {}, `${type}: ${kind(part)}`)));
    const rows = fields(part?.items ?? part?.anyOf?.[0] ?? part);
    if (rows.length) made.push(table(rows));
    if (example !== undefined) made.push(shown(example));
    for (const [name, { value }] of Object.entries(examples ?? {})) made.push(element("p", {}, name), shown(value));
  }
  return made;
}

function operation(path, method, one) {
  const made = element("details", { className: "operation", id: one.operationId },
    element("summary", {}, element("span", { className: "method" }, method.toUpperCase()), element("code", {}, path), ` ${one.summary}`),
    element("p", {}, one.description ?? ""));
  if (one.parameters) {
    made.append(element("h3", {}, "Parameters"), table(one.parameters.map((part) =>
      row(element("code", {}, part.name + (part.required ? " *" : "")), part.in, element("code", {}, kind(part.schema)), part.description ?? ""))));
  }
  if (one.requestBody) made.append(...content("Body", one.requestBody));
  for (const [status, answer] of Object.entries(one.responses)) {
    if (!answer.$ref) made.append(...content(status, answer));
  }
  const refused = Object.entries(one.responses).filter(([, answer]) => answer.$ref);
  made.append(element("h3", {}, "Refusals"), table(refused.map(([status, answer]) => row(status, resolved(answer).description))));
  return made;
}

at("version").textContent = schema.info.version;
at("about").append(...(schema.info.description ?? "").split("\n\n").map((text) => element("p", {}, text.replaceAll("`", ""))));
for (const { name, description } of schema.tags ?? []) {
  const made = Object.entries(schema.paths).sort().flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, one]) => one.tags?.includes(name)).map(([method, one]) => operation(path, method, one)));
  at("operations").append(element("section", {}, element("h2", {}, name), element("p", { className: "faint" }, description), ...made));
}
at("only").oninput = ({ target }) => {
  for (const one of document.querySelectorAll(".operation")) one.hidden = !one.textContent.toLowerCase().includes(target.value.toLowerCase());
};
document.querySelector("form").onsubmit = (event) => event.preventDefault();
