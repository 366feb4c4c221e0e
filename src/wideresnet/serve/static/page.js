// The page: images in, answers out. Nothing is fetched but from the service that it comes from.

import { ask, hasToken, Problem, remembered, setToken } from "./api.js";
import { Card, percent, problemText } from "./card.js";
import { save } from "./save.js";
import { WORDS } from "./words.js";

const SIDE_BY_SIDE = 4;                          // concurrent requests; more would only wait in the service
const K = 5;
const COVERAGE = 95;                             // per cent of the images whose set holds the right class
const MANY = 8;                                  // images from which on the list is compact
const SOON = 1000;                               // milliseconds, between requests for models that are loading

const byId = (id) => document.getElementById(id);
const cards = [];
const queue = [];
let asking = 0;
let pasted = 0;
let compact = null;                              // null: decided by the number of images
let models = [];
let standard = null;                             // the model of requests that name none
let explains = false;
let language = firstLanguage();

const page = {
  words: () => WORDS[language],
  explains: () => explains,
  preprocess: () => chosen()?.preprocess ?? null,
  query: () => `v1/classify?${new URLSearchParams({ k: K, ...model(), ...labels(), ...coverage() })}`,
  explainQuery: (index) => `v1/explain?${new URLSearchParams({ class: `#${index}`, ...model() })}`,
  announce: (text) => { byId("status").textContent = text; },
  again: (card) => { card.begin(); enqueue([card]); },
  removed,
};

function firstLanguage() {
  const requested = new URLSearchParams(location.search).get("lang") ?? remembered(() => localStorage.getItem("language"));
  if (requested in WORDS) return requested;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

const chosen = () => models.find((model) => model.name === byId("model").value);
const model = () => (models.length > 1 || !standard ? { model: byId("model").value } : {});
// Labels of a user's own have no translation.
const labels = () => (language !== "en" && chosen()?.languages.includes(language) ? { lang: language } : {});
// Sets of a calibrated model.
const coverage = () => {
  const most = chosen()?.calibration?.max_coverage;
  return most ? { coverage: Math.min(COVERAGE, most) } : {};
};

// Models

async function loadModels() {
  try {
    const pausing = (seconds, key) => seconds && notify(page.words()[key](Math.round(seconds)));
    const listing = await ask("v1/models", { pausing });
    byId("token-form").hidden = true;
    if (!listing.models.length) throw new Problem("", "", { key: "opening" });
    notify("");
    models = listing.models;
    standard = listing.default;
    explains = listing.explain;
    byId("model").replaceChildren(...models.map(({ name }) => new Option(name, name, name === listing.default)));
    byId("model").disabled = models.length < 2;
    describe();
    for (const card of cards) card.mark();
    pump();
  } catch (problem) {
    byId("token-form").hidden = problem.key !== "wrongToken";
    if (problem.key !== "wrongToken") setTimeout(loadModels, SOON);
    if (problem.key !== "wrongToken" || hasToken()) notify(problemText(problem, page.words()).join(" "));
  }
}

function describe() {
  const words = page.words(), shown = chosen();
  if (!shown) return;
  const { engine, measured, calibration } = shown, { facts } = words;
  const rows = [
    [facts.name, shown.name],
    [facts.architecture, shown.architecture],
    [facts.precision, shown.precision],
    [facts.engine, `${engine.runtime} ${engine.version}, ${engine.precision}`],
    [facts.classes, shown.classes.toLocaleString(language)],
    [facts.size, words.sees(shown.preprocess.crop)],
    ...measured.map((accuracy) => [facts.accuracy, words.accuracy(percent(accuracy.correct1 / accuracy.n), accuracy.data, accuracy.n.toLocaleString(language))]),
    [facts.calibration, calibration && words.calibrated(percent(calibration.ece), calibration.data, calibration.n.toLocaleString(language))],
    [facts.licence, shown.licence],
    [facts.graph, shown.graph_sha256.slice(0, 16)],
  ];
  const nodes = rows.filter(([, value]) => value).flatMap(([name, value]) => {
    const term = document.createElement("dt"), detail = document.createElement("dd");
    term.textContent = name;
    detail.textContent = value;
    return [term, detail];
  });
  byId("about").querySelector("dl").replaceChildren(...nodes);
}

// Images

// Adds pasted or dropped images. Text, such as the address of an image, is refused with a notice.
function take(data) {
  add(data.files);
  const text = data.files.length ? "" : data.getData("text/plain").trim(), words = page.words();
  const isAddress = /^(https?|file|data|blob):/i.test(text);
  notify(text && (isAddress ? words.address(text) : words.text));
}

function notify(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function add(files) {
  const images = [...files];
  if (!images.length) return;
  notify("");
  const added = images.map((file) => new Card(page, file, file.name || page.words().pasted(++pasted)));
  cards.unshift(...added);
  byId("cards").prepend(...added.map((card) => card.node));
  for (const card of added) card.begin();
  enqueue(added);
}

function enqueue(added) {
  queue.push(...added);
  count();
  pump();
}

function pump() {
  while (models.length && asking < SIDE_BY_SIDE && queue.length) {
    asking += 1;
    answer(queue.shift()).finally(() => {
      asking -= 1;
      pump();
    });
  }
}

async function answer(card) {
  const { signal } = card.controller;
  if (signal.aborted) return;
  try {
    await card.classify();
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    return;
  }
  count();
  if (cards.length <= SIDE_BY_SIDE) page.announce(spoken(card));
}

function spoken(card) {
  const words = page.words(), [best] = card.predictions;
  if (!best) return words.failed(card.name, problemText(card.problem, words).join(". "));
  const { unknown, p_known: known } = card.answer.results[0];
  const answered = words.answer(card.name, best.label, percent(best.probability));
  return unknown ? `${answered}. ${words.unknown(percent(known))}` : answered;
}

function count() {
  const done = cards.filter((card) => !card.waiting), failed = done.filter((card) => card.problem).length;
  const list = compact ?? cards.length >= MANY;
  byId("cards").classList.toggle("compact", list);
  byId("compact").setAttribute("aria-pressed", String(list));
  for (const button of document.querySelectorAll(".save")) button.disabled = !done.length;
  const waiting = cards.length - done.length, retriable = done.filter((card) => card.problem?.again).length;
  byId("progress").hidden = byId("stop").hidden = !waiting;
  byId("progress").max = cards.length;
  byId("progress").value = done.length;
  byId("retry").hidden = !retriable;
  byId("retry").textContent = page.words().retry(retriable);
  byId("results").hidden = !cards.length;
  document.body.classList.toggle("begun", cards.length > 0);
  byId("count").textContent = page.words().count(cards.length, done.length - failed, failed);
  if (cards.length > SIDE_BY_SIDE && done.length === cards.length) page.announce(byId("count").textContent);
}

function removed(card) {
  const index = cards.indexOf(card);
  cards.splice(index, 1);
  card.forget();
  count();
  const next = cards[Math.min(index, cards.length - 1)];
  (next?.find(".remove") ?? byId("files")).focus();
}

// Every image anew: with another model, or in another language.
function askAgain() {
  queue.length = 0;
  for (const card of cards) card.begin();
  enqueue(cards);
}

function translate() {
  const words = page.words();
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  document.title = words.title;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
  byId("language").textContent = words.other;
  for (const button of document.querySelectorAll(".save")) button.title = words.save(button.textContent);
  byId("language").lang = language === "en" ? "zh-Hans" : "en";
  byId("language").setAttribute("aria-label", words.otherLanguage);
  for (const card of cards) card.translate();
  describe();
  count();
}

// Ways in

function listen() {
  for (const input of document.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      add(input.files);
      input.value = "";                          // the same file may be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    if (!event.target.matches?.("input:not([type=file])")) take(event.clipboardData);
  });
  let depth = 0;                                 // of elements that the mouse is over with files
  const within = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", () => within(1));
  document.addEventListener("dragleave", () => within(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    within(-depth);
    take(event.dataTransfer);
  });
  byId("model").addEventListener("change", () => {
    describe();
    for (const card of cards) card.mark();
    askAgain();
  });
  byId("language").addEventListener("click", () => {
    language = language === "en" ? "zh" : "en";
    remembered(() => localStorage.setItem("language", language));
    translate();
    askAgain();
  });
  byId("compact").addEventListener("click", () => {
    compact = byId("compact").getAttribute("aria-pressed") === "false";
    count();
  });
  for (const button of document.querySelectorAll(".save")) {
    button.addEventListener("click", () => save(cards.filter((card) => !card.waiting), button.dataset.kind, page.words()));
  }
  byId("stop").addEventListener("click", () => {
    queue.length = 0;
    for (const card of cards) if (card.waiting) card.cancel();
    count();
    page.announce(byId("count").textContent);
    byId("retry").focus();
  });
  byId("retry").addEventListener("click", () => {
    const failed = cards.filter((card) => card.problem?.again);
    for (const card of failed) card.begin();
    enqueue(failed);
    byId("stop").focus();
  });
  byId("clear").addEventListener("click", () => {
    queue.length = 0;
    for (const card of cards.splice(0)) card.forget();
    count();
    page.announce(page.words().cleared);
    byId("files").focus();
  });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(byId("token").value);
    loadModels();
  });
}

listen();
translate();
loadModels();
