import { at, element, pretty } from "./page.js";

const KEPT = "langmem-dspy key";
const EVERY = 5000;
let key = sessionStorage.getItem(KEPT);
let timer;

class Refused extends Error {}

async function ask(path, body) {
  const headers = key ? { "x-api-key": key } : {};
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store" });
  if (answer.status === 401) throw new Refused(key ? "This server does not know that key." : "");
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status}: ${said.detail ?? "no reason given"}`);
  return said;
}

function trouble(error) {
  if (error instanceof Refused) {
    forget();
    at("inside").hidden = true;
    at("door").hidden = false;
    at("key").focus();
  }
  // fetch() throws a TypeError where nobody answers, in other words in every browser.
  const text = error instanceof TypeError ? "The server does not answer; this is what it said last." : error.message;
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

function forget() {
  key = null;
  sessionStorage.removeItem(KEPT);
  at("leave").hidden = true;
  at("who").textContent = "";
  for (const id of ["numbers", "namespaces", "runs", "found", "told", "where"]) at(id).replaceChildren();
}

async function refresh() {
  clearTimeout(timer);
  const asked = key;
  try {
    if (!document.hidden) {
      const data = await ask("status/data");
      if (asked !== key) return;
      show(data);
      trouble({ message: "" });
    }
  } catch (error) {
    trouble(error);
  }
  if (at("door").hidden) timer = setTimeout(refresh, EVERY);
}

function show(data) {
  at("door").hidden = true;
  at("inside").hidden = false;
  at("leave").hidden = !key;
  at("who").textContent = data.tenant ? `${data.tenant.name}, namespace ${data.tenant.root.join("/")}` : "this machine alone";
  at("mlflow").hidden = !data.mlflow;
  if (data.mlflow) at("mlflow").href = data.mlflow;
  at("simulated").hidden = !data.simulation;
  at("simulated").textContent = data.simulation ? `No model is set, so ${data.simulation}.` : "";
  showNumbers(data);
  showNamespaces(data.store);
  showRuns(data.runs.recent);
}

function showNumbers({ store, runs, model, simulation, version, began }) {
  const numbers = {
    Memories: count(store.items),
    Namespaces: count(store.namespaces),
    "Runs at work": count(runs.running),
    "Runs waiting": count(runs.pending),
    Model: simulation ? `the offline simulation (${model})` : model,
    Version: version,
    "Up since": new Date(began).toLocaleString(),
  };
  if (store.bytes !== undefined) numbers["Size on disk"] = size(store.bytes);
  if (store.embedder) numbers.Embedder = store.embedder;
  fill("numbers", Object.entries(numbers).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function showNamespaces({ largest, namespaces }) {
  const rows = largest.map(({ namespace, items }) => {
    const open = element("button", { type: "button", className: "text", title: "Show what is in it" }, namespace.join(" / "));
    open.onclick = () => {
      at("where").value = JSON.stringify(namespace);
      search();
    };
    return row([open, ""], [count(items), "number"]);
  });
  const more = namespaces - largest.length;
  if (more > 0) rows.push(row([`and ${count(more)} smaller ones`, "faint"], ["", ""]));
  fill("namespaces", rows.length ? [head("Namespace", "Memories"), ...rows] : [row(["Nothing is stored yet.", "faint"])]);
  const options = largest.map(({ namespace }) => element("option", { value: JSON.stringify(namespace) }, namespace.join(" / ")));
  fill("where", [element("option", { value: "[]" }, "everywhere"), ...options], at("where").value);
}

function showRuns(runs) {
  const rows = runs.map((run) => {
    const when = element("time", { dateTime: run.created_at, title: `${run.created_at}\nrun ${run.run_id}` }, new Date(run.created_at).toLocaleTimeString());
    const error = run.error ? `${run.error.error}: ${run.error.message}` : "";
    return row([when, ""], [run.graph, "name"], [run.status, `state ${run.status}`], [run.seconds.toFixed(2), "number"], [error, "bad"]);
  });
  fill("runs", rows.length ? [head("Began", "Graph", "State", "Seconds", "Error"), ...rows] : [row(["No runs yet.", "faint"])]);
}

// What did not change is left alone, so that focus, selection and an open list stay.
const shown = {};
function fill(id, children, value) {
  const holder = element("div", {}, ...children);
  if (shown[id] === holder.textContent && at(id).hasChildNodes()) return;
  shown[id] = holder.textContent;
  at(id).replaceChildren(...holder.childNodes);
  if (value) at(id).value = value;
  if (at(id).selectedIndex === -1) at(id).selectedIndex = 0;
}

const head = (...names) => element("tr", {}, ...names.map((name) => element("th", { scope: "col", className: /Seconds|Memories/.test(name) ? "number" : "" }, name)));
const row = (...cells) => element("tr", {}, ...cells.map(([content, className]) => element("td", { className: className ?? "" }, content)));
const count = (number) => number?.toLocaleString() ?? "not counted";

function size(bytes) {
  const power = Math.min(3, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${["B", "KiB", "MiB", "GiB"][power]}`;
}

async function search() {
  const query = at("query").value.trim();
  // Looking at memories must not make them live longer.
  const asked = { query: query || null, namespace_prefix: JSON.parse(at("where").value || "[]"), limit: Number(at("limit").value), refresh_ttl: false, explain: true };
  try {
    const began = performance.now();
    const { items } = await ask("store/items/search", asked);
    const taken = `${Math.round(performance.now() - began)} ms`;
    at("told").textContent = items.length ? `${items.length} found in ${taken}${query ? ", best first" : ""}` : `Nothing found (${taken}).`;
    at("found").replaceChildren(...items.map(found));
    at("told").scrollIntoView({ block: "nearest" });
  } catch (error) {
    trouble(error);
  }
}

function found(item) {
  const about = [element("b", {}, item.namespace.join(" / ")), element("code", { className: "faint" }, item.key)];
  if (item.score !== null) {
    const score = item.score.toFixed(3);
    about.unshift(element("meter", { min: 0, max: 1, value: item.score, title: "score" }), element("span", { className: "number" }, score));
  }
  about.push(element("span", { className: "faint" }, new Date(item.updated_at).toLocaleString()));
  const { content, ...rest } = typeof item.value.content === "string" ? item.value : { content: pretty(item.value) };
  const { score, ...parts } = item.explanation ?? {};
  return element("li", { className: "found" }, element("div", {}, ...about), element("pre", {}, content),
    element("div", { className: "faint" }, ...Object.entries(rest).map(told)),
    element("div", { className: "faint", title: "what the score is made of" }, ...Object.entries(parts).map(told)));
}

const told = ([name, value]) => element("span", {}, `${name} ${typeof value === "string" ? value : rounded(value)}`);
const rounded = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : JSON.stringify(value));

at("login").onsubmit = (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  at("key").value = "";
  sessionStorage.setItem(KEPT, key);
  refresh();
};
at("search").onsubmit = (event) => {
  event.preventDefault();
  search();
};
at("leave").onclick = () => {
  forget();
  refresh();
};
document.onvisibilitychange = refresh;
refresh();
