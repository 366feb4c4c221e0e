// The card of one image: its photo, its predictions and its evidence.

import { ask, hasToken, Problem } from "./api.js";
import { copy, inCurl, inPython } from "./code.js";

const TINY = 128;                                // pixels: an image this small is shown enlarged, pixel by pixel
const STAGES = ["read", "decode", "wait", "infer"];

export class Card {
  // `page` gives words(), query(), address(), explains(), labelled(), and removed(card), called when the card is removed.
  constructor(page, file, name) {
    Object.assign(this, { page, file, name, answer: null, problem: null, maps: new Map(), chosen: 0 });
    this.url = URL.createObjectURL(file);
    this.node = document.getElementById("card").content.cloneNode(true).firstElementChild;
    this.find = (selector) => this.node.querySelector(selector);
    this.find("h3").textContent = name;
    this.find(".unfold").addEventListener("click", () => this.unfold());
    this.buildPhoto();
    this.buildViews();
    this.find(".remove").addEventListener("click", () => page.removed(this));
    this.find(".again").addEventListener("click", () => page.again(this));
    for (const button of this.node.querySelectorAll(".copy")) {
      button.addEventListener("click", () => this.copied(button));
    }
    this.translate();
  }

  buildPhoto() {
    const photo = this.find(".photo");
    photo.addEventListener("load", () => {
      const small = Math.max(photo.naturalWidth, photo.naturalHeight) <= TINY;
      this.find(".frame").classList.toggle("tiny", small);
      this.mark();
      this.translate();
    });
    photo.addEventListener("error", () => {
      photo.hidden = true;
      this.find(".unshown").hidden = false;
    });
    photo.src = this.url;
  }

  buildViews() {
    const group = `view-${this.url}`;
    for (const radio of this.node.querySelectorAll(".views input")) {
      radio.name = group;
      radio.addEventListener("change", () => this.show(this.view, this.chosen));
    }
  }

  // In the compact list.
  unfold() {
    const open = this.node.classList.toggle("open");
    this.find(".unfold").setAttribute("aria-expanded", String(open));
  }

  // Mark the part of the photo that the network sees.
  mark() {
    const photo = this.find(".photo"), marker = this.find(".marker"), spec = this.page.preprocess();
    const shown = this.view === "photo" && !photo.hidden && photo.naturalWidth > 0 && spec && !this.problem;
    marker.hidden = !shown;
    if (!shown) return;
    const [left, top, width, height] = cropOf(photo.naturalWidth, photo.naturalHeight, spec);
    for (const [side, fraction] of Object.entries({ left, top, width, height })) {
      marker.style.setProperty(side, `${100 * fraction}%`);
    }
    const words = this.page.words(), all = width > 0.99 && height > 0.99;
    this.find("figcaption").textContent = all ? words.cropOfAll(spec.crop) : words.cropCaption(spec.crop);
  }

  get view() {
    return this.find(".views input:checked").value;
  }

  set view(value) {
    this.find(`.views input[value=${value}]`).checked = true;
  }

  get predictions() {
    return this.answer?.results[0].predictions ?? [];
  }

  // A new question of the same image; the old answer stays until the new one is there.
  begin() {
    this.stop();
    this.controller = new AbortController();
    this.problem = null;
    this.maps.clear();
    this.wait("waiting");
  }

  stop() {
    this.controller?.abort();
  }

  forget() {
    this.stop();
    URL.revokeObjectURL(this.url);
    this.node.remove();
  }

  // The answer is there afterwards, or the problem; throws AbortError when nobody waits for it any more.
  async classify() {
    const { signal } = this.controller;
    this.wait("looking");
    const began = performance.now();
    try {
      this.path = this.page.query();
      this.coverage = new URLSearchParams(this.path.split("?")[1]).get("coverage");
      this.answer = await ask(this.path, { body: this.file, signal, pausing: (seconds, key) => this.pausing(seconds, key) });
      this.milliseconds = performance.now() - began;
      this.chosen = this.predictions[0].index;
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      this.answer = null;
      this.problem = problem;
    }
    this.render();
  }

  pausing(seconds, key) {
    this.wait(seconds ? key : "looking", seconds ? Math.round(seconds) : "");
  }

  // Ask no more; the image can be tried again.
  cancel() {
    this.stop();
    this.answer = null;
    this.problem = new Problem("", "", { key: "stopped" });
    this.render();
  }

  wait(key, value = "") {
    this.waiting = [key, value];
    this.find(".answer").setAttribute("aria-busy", "true");
    this.translate();
  }

  render() {
    this.waiting = null;
    this.find(".answer").setAttribute("aria-busy", "false");
    this.find(".problem").hidden = !this.problem;
    this.find(".request").hidden = !this.answer;
    this.find(".times").hidden = !this.answer;
    this.find(".views").hidden = !this.answer || !this.page.explains();
    this.find(".classes").replaceChildren(...this.predictions.map((prediction) => this.bar(prediction)));
    if (!this.answer) this.view = "photo";
    this.translate();
    this.show(this.view, this.chosen);
  }

  bar(prediction) {
    const item = document.createElement("li");
    const row = document.createElement(this.page.explains() ? "button" : "div");
    row.className = "row";
    row.dataset.index = prediction.index;
    if (row.type) {
      row.type = "button";
      row.title = this.page.words().showEvidence(prediction.label);
      row.addEventListener("click", () => this.show("evidence", prediction.index));
    }
    const line = part("span", "bar", "");
    line.style.setProperty("--probability", prediction.probability);
    row.append(part("span", "label", prediction.label), part("span", "probability", percent(prediction.probability)), line);
    item.append(row);
    return item;
  }

  // The words of everything but the classes, in the language of now.
  translate() {
    const words = this.page.words(), photo = this.find(".photo");
    const pixels = photo.naturalWidth ? [words.pixels(photo.naturalWidth, photo.naturalHeight)] : [];
    this.find(".size").textContent = [...pixels, bytes(this.file.size)].join(", ");
    this.find(".unfold").setAttribute("aria-label", words.unfold(this.name));
    this.find(".unfold").title = words.unfold(this.name);
    for (const node of this.node.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
    this.find(".remove").setAttribute("aria-label", words.remove(this.name));
    this.find(".remove").title = words.remove(this.name);
    this.find(".unshown").textContent = words.noPreview;
    const [key, value] = this.waiting ?? ["", ""];
    this.find(".state").textContent = key && (value === "" ? words[key] : words[key](value));
    if (this.problem) this.translateProblem(words);
    this.translateCertainty(words);
    if (this.answer) this.translateTimes(words);
    if (this.answer) this.translateRequest();
  }

  translateProblem(words) {
    const [message, hint] = problemText(this.problem, words);
    this.find(".what").textContent = message;
    this.find(".hint").textContent = hint;
    const { key, kind } = this.problem, translated = key || kind in words.problems;
    this.find(".what").lang = this.find(".hint").lang = translated ? document.documentElement.lang : "en";
    this.find(".original").textContent = !key && translated ? words.original(`${this.problem.message}. ${this.problem.hint}`) : "";
    this.find(".again").hidden = !this.problem.again;
  }

  // Of calibrated models: whether the image is unknown, and the set of classes. Of cascades: who answered.
  translateCertainty(words) {
    const { unknown, p_known: known, set, passed_on: passedOn } = this.answer?.results[0] ?? {};
    const alert = this.find(".unknown"), members = this.find(".members"), cascade = this.find(".cascade");
    cascade.hidden = passedOn === undefined;
    cascade.textContent = passedOn === undefined ? "" : words.cascade(passedOn);
    alert.hidden = !unknown;
    alert.textContent = unknown ? words.unknown(percent(known)) : "";
    members.hidden = !set;
    members.textContent = set ? words.members(this.coverage, set) : "";
  }

  translateTimes(words) {
    const spent = this.answer.milliseconds;
    const text = words.took(this.answer.model.name, duration(spent.total), duration(this.milliseconds));
    this.find(".times p").textContent = text;
    const line = STAGES.map((stage, index) => {
      const node = part("span", `s${index}`, "");
      node.style.setProperty("flex-grow", spent[stage]);
      return node;
    });
    const names = STAGES.map((stage, index) => part("li", `s${index}`, `${words.stages[stage]} ${duration(spent[stage])}`));
    this.find(".line").replaceChildren(...line);
    this.find(".stages").replaceChildren(...names);
  }

  translateRequest() {
    const [curl, python] = this.node.querySelectorAll(".code pre");
    const address = new URL(this.path, document.baseURI).href;
    curl.textContent = inCurl(address, this.name, hasToken());
    python.textContent = inPython(address, this.name, hasToken());
  }

  async copied(button) {
    await copy(button.parentElement.querySelector("pre"));
    const words = this.page.words();
    button.textContent = words.copied;
    this.page.announce(words.copied);
    setTimeout(() => { button.textContent = this.page.words().copy; }, 1500);
  }

  // One of photo, crop and evidence, the latter for a class.
  async show(view, index) {
    this.view = view;
    this.chosen = index;
    for (const row of this.node.querySelectorAll("button.row")) {
      row.setAttribute("aria-pressed", String(view === "evidence" && Number(row.dataset.index) === index));
    }
    const layer = this.find(".layer"), caption = this.find("figcaption");
    if (view === "photo") {
      layer.hidden = true;
      caption.textContent = "";
      this.find(".frame").classList.remove("under");
      this.mark();
      return;
    }
    this.find(".marker").hidden = true;
    const explanation = await this.explanation(index);
    if (!explanation || this.view !== view || this.chosen !== index) return;     // another was chosen meanwhile
    this.lay(explanation, view);
  }

  async explanation(index) {
    const caption = this.find("figcaption"), words = this.page.words();
    if (this.maps.has(index)) return this.maps.get(index);
    caption.textContent = words.drawing;
    try {
      const pausing = (seconds, key) => { caption.textContent = seconds ? words[key](Math.round(seconds)) : words.drawing; };
      const explanation = await ask(this.page.explainQuery(index), { body: this.file, signal: this.controller.signal, pausing });
      this.maps.set(index, explanation);
      return explanation;
    } catch (problem) {
      if (problem.name !== "AbortError") caption.textContent = problemText(problem, this.page.words()).join(". ");
      return null;
    }
  }

  lay(explanation, view) {
    const layer = this.find(".layer"), frame = this.find(".frame"), words = this.page.words();
    const [left, top, right, bottom] = this.find(".photo").hidden ? [0, 0, 1, 1] : explanation.box;
    const box = { left, top, width: right - left, height: bottom - top };
    for (const [side, fraction] of Object.entries(box)) layer.style.setProperty(side, `${100 * fraction}%`);
    layer.classList.toggle("pixels", explanation.side <= TINY);
    layer.src = view === "crop" ? explanation.crop : explanation.classes[0].overlay;
    layer.hidden = false;
    frame.classList.add("under");
    frame.classList.toggle("alone", this.find(".photo").hidden);
    const label = this.predictions.find((prediction) => prediction.index === explanation.classes[0].index)?.label ?? "";
    this.find("figcaption").textContent = view === "crop" ? words.inputCaption(explanation.side) : words.evidenceFor(label);
    layer.alt = this.find("figcaption").textContent;
  }
}

function part(tag, name, text) {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

// The message and the hint of a problem.
export function problemText(problem, words) {
  if (!problem.key && problem.kind in words.problems) return words.problems[problem.kind](problem.message);
  if (!problem.key) return [problem.message, problem.hint].filter((text) => text !== undefined);
  const message = words[problem.key];
  return [typeof message === "function" ? message(problem.value) : message, words[`${problem.key}Hint`] ?? ""];
}

// Left, top, width and height of the network's crop, as fractions of an image; a crop beyond its edges is cut.
function cropOf(width, height, { resize, crop, mode }) {
  const short = Math.min(width, height);
  const resized = [width, height].map((length) => (mode === "squash" ? resize : Math.floor((resize * length) / short)));
  const [left, top] = resized.map((length) => Math.max(0, Math.round((length - crop) / 2) / length));
  return [left, top, ...resized.map((length) => Math.min(1, crop / length))];
}

export function bytes(count) {
  if (count < 2 ** 10) return `${count} B`;
  return count < 2 ** 20 / 10 ? `${(count / 2 ** 10).toFixed(1)} KiB` : `${(count / 2 ** 20).toFixed(1)} MiB`;
}

export const percent = (fraction) => `${(100 * fraction).toFixed(fraction >= 0.9995 || fraction < 0.0005 ? 2 : 1)} %`;

function duration(milliseconds) {
  if (milliseconds >= 10_000) return `${(milliseconds / 1000).toFixed(0)} s`;
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toFixed(milliseconds < 9.95 ? 1 : 0)} ms`;
}
