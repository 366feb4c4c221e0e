// A form for each route of /docs, made from the service's OpenAPI document. Requests go to this service only.

import { hasToken, setToken } from "./api.js";

const LONG = 200;                                // characters of a string in an answer; data: URLs are cut
const HEADERS = ["Content-Type", "X-Request-ID", "Retry-After"];

const make = (tag, parent, members = {}) => Object.assign(parent.appendChild(document.createElement(tag)), members);

async function start() {
  const specification = await (await fetch("openapi.json")).json();
  const resolve = (node) => (node.$ref ? node.$ref.slice(2).split("/").reduce((part, key) => part[key], specification) : node);
  const sections = new Map([...document.querySelectorAll("section")].map((section) => [section.querySelector("h2")?.textContent, section]));
  const operations = Object.values(specification.paths).flatMap(Object.values);
  if ([specification, ...operations].some(({ security }) => security)) askToken(sections.values().next().value);
  for (const [path, item] of Object.entries(specification.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const section = sections.get(`${method.toUpperCase()} ${path}`);
      if (section) addForm(section, path, method, operation, resolve);
    }
  }
}

function askToken(section) {
  const form = make("form", section, { className: "try" }), label = make("label", form, { textContent: "token " });
  const field = make("input", label, { type: "password", autocomplete: "current-password", placeholder: hasToken() ? "set" : "" });
  form.addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("change", () => { setToken(field.value); });
}

function addForm(section, path, method, operation, resolve) {
  const details = make("details", section), form = make("form", details, { className: "try" });
  details.prepend(make("summary", details, { textContent: "Try it" }));
  const fields = (operation.parameters ?? []).map(resolve).map((parameter) => [parameter, addField(form, parameter)]);
  const content = operation.requestBody ? resolve(operation.requestBody).content : {};
  const body = content["image/*"] ? addFile(form) : content["application/json"] ? addText(form, content["application/json"]) : null;
  make("button", form, { textContent: "Send" });
  const status = make("p", details, { role: "status" }), answer = make("pre", details, { tabIndex: 0, hidden: true });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    status.textContent = "Sending …";
    answer.hidden = true;
    try {
      const began = performance.now(), response = await send(path, method, fields, body);
      const text = await response.text(), named = HEADERS.filter((name) => response.headers.has(name));
      status.textContent = [`${response.status} ${response.statusText}`, `${(performance.now() - began).toFixed(0)} ms`,
        ...named.map((name) => `${name}: ${response.headers.get(name)}`)].join(" · ");
      answer.textContent = readable(text);
      answer.hidden = !text;
    } catch (error) {
      status.textContent = `No response: ${error.message}`;
    }
  });
}

function addField(form, { name, required, schema, description }) {
  const label = make("label", form, { textContent: `${name} ` }), choices = schema?.enum;
  const field = make(choices ? "select" : "input", label, { title: description ?? "", required: Boolean(required) });
  if (choices) field.append(...(required ? [] : [new Option("")]), ...choices.map((choice) => new Option(choice)));
  else field.placeholder = schema?.default ?? (schema?.type === "array" ? "several: a, b" : "");
  return field;
}

function addFile(form) {
  const field = make("input", make("label", form, { textContent: "image " }), { type: "file", required: true });
  return () => [field.files[0], "application/octet-stream"];
}

function addText(form, { example }) {
  const text = example ? JSON.stringify(example, null, 1) : "";
  const field = make("textarea", make("label", form, { textContent: "JSON" }), { rows: 6, value: text, spellcheck: false });
  return () => (field.value.trim() ? [field.value, "application/json"] : [undefined, ""]);
}

function send(path, method, fields, body) {
  const query = new URLSearchParams(), headers = {};
  let target = path.slice(1);
  for (const [parameter, { value }] of fields) {
    if (value === "") continue;
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (parameter.in === "header") headers[parameter.name] = value;
    else for (const part of parameter.schema?.type === "array" ? value.split(/\s*,\s*/) : [value]) query.append(parameter.name, part);
  }
  const [content, type] = body?.() ?? [];
  if (content !== undefined) headers["Content-Type"] = type;
  const token = hasToken() ? { Authorization: `Bearer ${sessionStorage.getItem("token")}` } : {};
  const address = query.size ? `${target}?${query}` : target;
  return fetch(address, { method: method.toUpperCase(), headers: { ...headers, ...token }, body: content, cache: "no-store" });
}

function readable(text) {
  try {
    const cut = (_, value) => (typeof value === "string" && value.length > LONG ? `${value.slice(0, LONG)} … (${value.length} characters)` : value);
    return JSON.stringify(JSON.parse(text, cut), null, 1);
  } catch {
    return text;
  }
}

start();
