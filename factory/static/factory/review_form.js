// A JSON answer as a form. The form itself is drawn by the server from the JSON Schema; here it is
// filled and read. It is read as JSON text, so that no number loses a digit on its way.
import { showDiff } from "./review_diff.js";

const MOST_TEXT = 50_000; // characters of an answer that a form shows; longer ones are shown as JSON
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
let made = 0; // names for labels and radio buttons

class Numeral {
  constructor(source) { this.source = source; }
}

const parsed = (text) => JSON.parse(text, (key, value, context) => (
  typeof value === "number" ? new Numeral(context?.source ?? String(value)) : value
));

function written(value) {
  if (value instanceof Numeral) return value.source;
  if (Array.isArray(value)) return `[${value.map(written).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${written(item)}`).join(", ")}}`;
}

function indented(value, indent = "") {
  if (value === null || typeof value !== "object" || value instanceof Numeral) return written(value);
  const isList = Array.isArray(value);
  const inner = `${indent}  `;
  const lines = Object.entries(value).map(([key, item]) => (
    `${inner}${isList ? "" : `${JSON.stringify(key)}: `}${indented(item, inner)}`
  ));
  const [open, close] = isList ? "[]" : "{}";
  return lines.length ? `${open}\n${lines.join(",\n")}\n${indent}${close}` : open + close;
}

/** Write JSON for people, indented; a text that is no JSON stays as it is. */
export function pretty(text) {
  try { return indented(parsed(text)); } catch { return text; }
}

// --- parts: elements whose data-part says what they hold ---
const PART = "[data-part]";
const within = (part, selector) => [...part.querySelectorAll(selector)]
  .filter((found) => found.closest(PART) === part);
const first = (part, selector) => within(part, selector)[0];
const kindOf = (part) => part.dataset.part;
const childrenOf = (part) => [...part.querySelectorAll(PART)]
  .filter((child) => child.parentElement.closest(PART) === part);
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Numeral);

const FITS = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === "string",
  number: (value) => value instanceof Numeral,
  integer: (value) => value instanceof Numeral,
  boolean: (value) => typeof value === "boolean",
  choice: (value, part) => optionOf(part, written(value)) !== undefined,
  json: () => true,
};

function optionOf(part, text) {
  const control = first(part, "[data-control]");
  return [...control.querySelectorAll("option, input")].find((option) => option.value === text && text !== "");
}

function named(root) {
  const parts = root.matches?.(PART) ? [root, ...root.querySelectorAll(PART)] : root.querySelectorAll(PART);
  for (const part of parts) {
    made += 1;
    const [label] = within(part, "label[data-title]");
    const control = first(part, "[data-control]");
    if (control) control.id = `part-${made}`;
    if (label) label.htmlFor = control.id;
    within(part, "input[type=radio]").forEach((radio) => { radio.name = `part-${made}`; });
  }
}

function cloned(template) {
  const copy = template.content.cloneNode(true).firstElementChild;
  named(copy);
  return copy;
}

// --- filling ---
function setState(part, state) {
  part.dataset.state = state;
  const choice = first(part, "select[data-state]");
  if (choice && [...choice.options].some((option) => option.value === state)) choice.value = state;
  const body = within(part, "[data-body], button[data-do=add]");
  body.forEach((element) => { element.hidden = state !== "given" && kindOf(part) !== "json"; });
  const control = first(part, "[data-control]");
  if (control && "placeholder" in control) control.placeholder = state === "given" ? "" : state;
}

function clear(part) {
  const control = first(part, "[data-control]");
  if (control && "value" in control) control.value = "";
  within(part, "input[type=radio]").forEach((radio) => { radio.checked = false; });
  if (kindOf(part) === "array") first(part, "[data-body]").replaceChildren();
  if (kindOf(part) === "object") childrenOf(part).forEach((child) => fill(child, undefined));
}

/** Show a value in a part; undefined: its key is missing. What does not fit is shown as JSON. */
function fill(part, value) {
  if (value === undefined || (value === null && first(part, "select[data-state] [value=null]"))) {
    clear(part);
    setState(part, value === undefined ? "missing" : "null");
    return;
  }
  if (!FITS[kindOf(part)](value, part)) becomeRaw(part);
  setState(part, "given");
  FILL[kindOf(part)](part, value);
}

const put = (part, text) => { first(part, "[data-control]").value = text; };

function pick(part, value) {
  const option = optionOf(part, written(value));
  if (option.matches("input")) option.checked = true;
  else first(part, "[data-control]").value = option.value;
}

const FILL = {
  string: put,
  number: (part, value) => put(part, value.source),
  integer: (part, value) => put(part, value.source),
  boolean: pick,
  choice: pick,
  json: (part, value) => put(part, indented(value)),
  array: (part, value) => {
    first(part, "[data-body]").replaceChildren();
    value.forEach((item) => add(part, item));
  },
  object: (part, value) => {
    const known = new Set();
    for (const child of childrenOf(part)) {
      if (child.hasAttribute("data-extra")) { child.remove(); continue; }
      known.add(child.dataset.name);
      fill(child, Object.hasOwn(value, child.dataset.name) ? value[child.dataset.name] : undefined);
    }
    Object.keys(value).filter((key) => !known.has(key)).forEach((key) => extra(part, key, value[key]));
    const order = new Map(Object.keys(value).map((key, at) => [key, at])); // an answer keeps its own
    const place = (child) => order.get(child.dataset.name) ?? order.size;
    first(part, "[data-body]").append(...childrenOf(part).sort((a, b) => place(a) - place(b)));
  },
};

function becomeRaw(part) {
  part.dataset.part = "json";
  part.classList.add("whole");
  const [body] = within(part, "[data-body], [data-control]");
  within(part, "button[data-do=add], template").forEach((element) => element.remove());
  const control = document.createElement("textarea");
  control.rows = 1;
  control.dataset.control = "";
  control.setAttribute("aria-label", `${part.dataset.name || "value"}, as JSON`);
  body.replaceWith(control);
}

// A key that the schema does not name.
function extra(part, key, value) {
  const child = cloned(document.getElementById("answer-raw"));
  child.dataset.name = key;
  child.dataset.extra = "";
  if (typeof value === "string") child.dataset.part = "string";
  first(child, "[data-title]").textContent = key;
  first(child, "[data-do=remove]").setAttribute("aria-label", `Remove ${key}`);
  first(part, "[data-body]").append(child);
  fill(child, value);
}

function add(part, value) {
  const item = cloned(first(part, "template"));
  first(part, "[data-body]").append(item);
  const inner = item.querySelector(PART);
  named(inner);
  fill(inner, value);
  return inner;
}

// --- reading ---
const given = (part) => first(part, "[data-control]").value;
function picked(part) {
  const control = first(part, "[data-control]");
  const option = control.matches("select") ? control : control.querySelector(":checked");
  return option?.value || undefined;
}
const numeral = (part) => {
  const text = given(part).trim();
  return NUMBER.test(text) ? text : JSON.stringify(text); // the server says what is wrong with it
};

const READ = {
  string: (part) => JSON.stringify(given(part)),
  number: numeral,
  integer: numeral,
  boolean: picked,
  choice: picked,
  json: (part) => given(part).trim() || undefined,
  array: (part) => `[${childrenOf(part).map((child) => read(child) ?? "null").join(", ")}]`,
  object: (part) => {
    const pairs = childrenOf(part).map((child) => [child.dataset.name, read(child)])
      .filter(([, text]) => text !== undefined)
      .map(([key, text]) => `${JSON.stringify(key)}: ${text}`);
    return `{${pairs.join(", ")}}`;
  },
};

/** Return a part's JSON text; undefined where its key is missing. */
function read(part) {
  const { state } = part.dataset;
  if (state === "missing") return undefined;
  return state === "null" ? "null" : READ[kindOf(part)](part);
}

// --- the form as a whole ---
export class Form {
  /** Open a form in `holder`, filled with the JSON text `answer`; `isShown` says whether it fits. */
  constructor(holder, answer) {
    this.holder = holder;
    this.answer = answer;
    this.isShown = this.open();
  }

  open() {
    if (this.answer.length > MOST_TEXT) return false;
    let value;
    try { value = this.answer ? parsed(this.answer) : undefined; } catch { return false; }
    this.holder.replaceChildren(cloned(document.getElementById("answer-form")));
    this.root = this.holder.firstElementChild;
    fill(this.root, value);
    if (value === undefined) setState(this.root, "given");
    this.keep();
    return true;
  }

  /** Show another answer, beside which the first one stays what changes are told from. */
  show(answer) {
    const before = new Map(this.parts().map((part) => [this.path(part), part.was]));
    fill(this.root, parsed(answer));
    this.parts().forEach((part) => { part.was = before.get(this.path(part)); this.mark(part); });
  }

  path(part) {
    const outer = part.parentElement.closest(PART);
    if (!outer || !this.holder.contains(outer)) return "";
    const name = kindOf(outer) === "array" ? childrenOf(outer).indexOf(part) : part.dataset.name;
    return `${this.path(outer)}/${name}`;
  }

  parts() { return [...this.holder.querySelectorAll(PART)]; }

  keep() { this.parts().forEach((part) => { part.was = read(part); }); }

  text() { return read(this.root) ?? ""; }

  isChanged() { return this.text() !== this.root.was; }

  leaves() { return this.parts().filter((part) => part.classList.contains("whole")); }

  values() { return this.leaves().map((part) => valueOf(part)).filter((value) => value.length > 1); }

  /** Take note that something in a part was changed: it and what it is in are there now. */
  touch(target) {
    const start = target.closest(PART);
    const wasState = target.matches("select[data-state]");
    if (wasState) this.turn(start, target.value);
    for (let part = start; part && this.holder.contains(part); part = part.parentElement.closest(PART)) {
      if (part.dataset.state !== "given" && !(wasState && part === start)) setState(part, "given");
      this.mark(part);
    }
  }

  turn(part, state) {
    if (state !== "given") fill(part, state === "null" ? null : undefined);
    else if (kindOf(part) === "json") put(part, given(part) || "null");
    setState(part, state);
  }

  mark(part) {
    const now = read(part);
    const isChanged = now !== part.was;
    part.classList.toggle("changed", isChanged);
    const [was, restore] = [first(part, "[data-was]"), first(part, "[data-do=restore]")];
    if (restore) restore.hidden = !isChanged;
    if (!was) return;
    was.hidden = !isChanged || !part.classList.contains("whole");
    if (!was.hidden) showDiff(was, part.was === undefined ? "" : plain(part.was), now === undefined ? "" : plain(now));
  }

  restore(part) {
    fill(part, part.was === undefined ? undefined : parsed(part.was));
    if (!part.classList.contains("whole")) childrenOf(part).forEach((child) => this.forgive(child));
    this.touchState(part);
  }

  // Parts made anew by a restored list are what they were.
  forgive(part) {
    part.was = read(part);
    childrenOf(part).forEach((child) => this.forgive(child));
    this.mark(part);
  }

  touchState(part) {
    for (let at = part; at && this.holder.contains(at); at = at.parentElement.closest(PART)) this.mark(at);
  }

  act(button) {
    const part = button.closest(PART);
    const name = button.dataset.do;
    if (name === "ok") this.accept(part);
    else if (name === "restore") this.restore(part);
    else if (name === "add") {
      const inner = add(part, undefined);
      setState(inner, "given");
      this.touch(inner);
      inner.querySelector("textarea, input, select")?.focus();
    } else if (name === "remove") {
      const outer = part.hasAttribute("data-extra") ? part.parentElement.closest(PART) : part;
      const item = button.closest("li");
      if (part.hasAttribute("data-extra")) part.remove(); else item.remove();
      this.touchState(outer);
      outer.querySelector("button[data-do=add]")?.focus();
    }
  }

  accept(part, isRight = !this.isAccepted(part)) {
    first(part, "[data-do=ok]")?.setAttribute("aria-pressed", String(isRight));
  }

  isAccepted(part) { return first(part, "[data-do=ok]")?.getAttribute("aria-pressed") === "true"; }

  /** Say how many parts were looked at, and how many there are. */
  checked() {
    const leaves = this.leaves().filter((part) => first(part, "[data-do=ok]"));
    return [leaves.filter((part) => this.isAccepted(part)).length, leaves.length];
  }

  /** Accept the part that holds an element; return what to focus next, undefined at the end. */
  next(element) {
    const part = element.closest(PART);
    this.accept(part, true);
    const leaves = this.leaves();
    const later = [...leaves.slice(leaves.indexOf(part) + 1), ...leaves.slice(0, leaves.indexOf(part))];
    return controlOf(later.find((leaf) => !this.isAccepted(leaf) && first(leaf, "[data-do=ok]") && leaf.checkVisibility()));
  }

  firstControl() { return controlOf(this.leaves()[0]); }
}

function controlOf(part) {
  const control = part && first(part, "[data-control]");
  return control?.matches("[role=radiogroup]") ? control.querySelector(":checked") ?? control.querySelector("input") : control;
}

const plain = (text) => (text.startsWith('"') ? JSON.parse(text) : text);

/** Return a part's value as it would stand in a text. */
export function valueOf(element) {
  const part = element.closest(PART);
  const text = part.classList.contains("whole") ? read(part) : undefined;
  if (text === undefined || text === "null" || kindOf(part) === "json" || kindOf(part) === "boolean") return "";
  return plain(text);
}
