// One editor for each kind of answer. All know the same words: answer() is what is on the screen if
// it is not what the card came with, open() starts to edit, press(at) is a digit, take(text) shows
// another answer, refresh(target) follows what was typed.
import { showDiff, write } from "./review_diff.js";
import { Form, pretty, valueOf } from "./review_form.js";
import { paint } from "./review_spans.js";

const MOST_PAINTED = 20_000_000; // characters looked at for all values; beyond, the present one's

class Editor {
  constructor(card) {
    this.card = card;
    const target = this.find("[data-target]");
    this.isNew = target.hasAttribute("data-none"); // there is no answer yet
    this.base = target.textContent;
    const teacher = this.find("[data-teacher]");
    if (teacher) showDiff(this.find("[data-differs]"), this.forPeople(this.base), this.forPeople(teacher.textContent));
  }

  find(selector) { return this.card.querySelector(selector); }

  forPeople(text) { return text; }

  paint() { paint(this.find("[data-source]"), []); }

  /** Let the first button say what it does now. */
  settle() {
    const answer = this.answer();
    const button = this.find("[data-do=accept]");
    button.querySelector("span").textContent = answer === undefined ? "Accept" : "Save";
    button.disabled = this.isNew && answer === undefined;
  }
}

class LabelEditor extends Editor {
  labels() { return [...this.card.querySelectorAll("[data-label]")]; }

  get choices() { return this.labels().length; }

  answer() { return undefined; }

  /** Return the answer that a label is by itself: it is sent at once. */
  press(at) { return this.labels()[at].dataset.label; }

  open() {
    this.find("[data-search]").hidden = false;
    this.find("[data-search] input").focus();
  }

  /** Hide the labels that do not begin with what was typed, nor hold it; return the others. */
  narrow() {
    const typed = this.find("[data-search] input").value.trim().toLowerCase();
    const name = (label) => label.dataset.label.toLowerCase();
    const starting = this.labels().filter((label) => name(label).startsWith(typed));
    const found = starting.length ? starting : this.labels().filter((label) => name(label).includes(typed));
    this.labels().forEach((label) => { label.hidden = !found.includes(label); });
    return found;
  }

  refresh(target) { if (target.closest("[data-search]")) this.narrow(); }
}

class LabelsEditor extends LabelEditor {
  constructor(card) {
    super(card);
    let names = [];
    try { names = JSON.parse(this.base || "[]"); } catch { /* the teacher broke the format: none is set */ }
    this.before = this.chosen = Array.isArray(names) ? names : [];
    this.draw();
  }

  draw() {
    this.labels().forEach((label) => label.setAttribute("aria-pressed", String(this.chosen.includes(label.dataset.label))));
    const shown = this.find(".current b");
    if (!shown || !this.isTouched) return;
    const before = this.labels().map((label) => label.dataset.label).filter((name) => this.before.includes(name));
    const pieces = [...new Set([...before, ...this.chosen])].map((name) => {
      const kind = !this.chosen.includes(name) ? "del" : before.includes(name) ? "span" : "ins";
      const piece = document.createElement(kind);
      write(piece, name);
      return piece;
    });
    shown.replaceChildren(...pieces.flatMap((piece, at) => (at ? [", ", piece] : [piece])));
  }

  forPeople(text) {
    try { return JSON.parse(text).join(", ") || "none"; } catch { return text; }
  }

  text() { return `[${this.chosen.map((name) => JSON.stringify(name)).join(", ")}]`; }

  answer() {
    if (this.isNew) return this.chosen.length || this.isTouched ? this.text() : undefined;
    return this.text() === this.base || !this.isTouched ? undefined : this.text();
  }

  /** Set a label, or take it back; the answer is sent by a key of its own. */
  press(at) {
    const name = this.labels()[at].dataset.label;
    this.isTouched = true;
    this.chosen = this.chosen.includes(name) ? this.chosen.filter((each) => each !== name) : [...this.chosen, name];
    this.draw();
    this.settle();
    return undefined;
  }

  take(text) {
    let names;
    try { names = JSON.parse(text); } catch { return "The teacher's answer is no set of labels."; }
    if (!Array.isArray(names)) return "The teacher's answer is no set of labels.";
    this.chosen = names;
    this.isTouched = true;
    this.draw();
    this.settle();
    return "The teacher's answer.";
  }
}

class TextEditor extends Editor {
  constructor(card) {
    super(card);
    this.area = this.find("[data-raw] textarea");
    this.show(this.base);
  }

  show(text) { this.area.value = this.forPeople(text); }

  answer() { return this.area.value.trim() === this.base.trim() ? undefined : this.area.value; }

  open() {
    this.find("[data-raw]").hidden = false;
    this.area.focus();
  }

  take(text) {
    this.find("[data-raw]").hidden = false;
    this.show(text);
    this.refresh();
    return "The teacher's answer.";
  }

  refresh() {
    if (!this.isDrawing) {
      this.isDrawing = true; // a frame shows one difference, however many letters came before it
      requestAnimationFrame(() => { this.isDrawing = false; this.draw(); });
    }
    this.settle();
  }

  draw() { showDiff(this.find("[data-shown]"), this.base, this.area.value); }
}

class JsonEditor extends TextEditor {
  constructor(card) {
    super(card);
    this.form = new Form(this.find("[data-form]"), this.base);
    this.isRaw = !this.form.isShown;
    this.turn();
    this.count();
  }

  forPeople(text) { return pretty(text); }

  turn() {
    this.find("[data-raw]").hidden = !this.isRaw;
    this.find("[data-form]").hidden = this.isRaw;
    const button = this.find("[data-do=raw]");
    button.setAttribute("aria-pressed", String(this.isRaw));
    button.disabled = !this.form.isShown;
    this.draw();
  }

  answer() {
    if (this.isRaw) return pretty(this.area.value) === pretty(this.base) ? undefined : this.area.value;
    return this.form.isChanged() ? this.form.text() : undefined;
  }

  open() {
    const control = this.isRaw ? this.area : this.form.firstControl();
    (control ?? this.area).focus();
  }

  /** Turn from the form to its JSON and back; says why it cannot. */
  raw() {
    if (!this.form.isShown) return "The answer fits no form.";
    if (this.isRaw) {
      try { this.form.show(this.area.value); } catch { return "This is not JSON yet."; }
    } else {
      this.area.value = pretty(this.form.text());
    }
    this.isRaw = !this.isRaw;
    this.turn();
    this.settle();
    return this.isRaw ? "As JSON." : "As a form.";
  }

  take(text) {
    try { if (!this.isRaw) this.form.show(text); } catch { this.isRaw = true; }
    if (this.isRaw) {
      this.area.value = pretty(text);
      this.turn();
    }
    this.refresh();
    return "The teacher's answer.";
  }

  press(at, target) {
    const radios = target.closest("[role=radiogroup]")?.querySelectorAll("input");
    if (radios?.[at]) {
      radios[at].checked = true;
      radios[at].focus();
      this.refresh(radios[at]);
    }
    return undefined;
  }

  get choices() { return 9; }

  refresh(target) {
    if (target?.closest("[data-form]")) this.form.touch(target);
    super.refresh();
    this.count(target);
  }

  draw() {
    const shown = this.find("[data-changes]");
    const isDifferent = this.isRaw && this.answer() !== undefined;
    shown.hidden = !isDifferent;
    if (isDifferent) showDiff(shown, pretty(this.base), this.area.value);
    this.paint(document.activeElement);
  }

  act(button) {
    this.form.act(button);
    this.refresh();
  }

  /** Say how many parts were looked at, and whether the present value stands in the text. */
  count() {
    const [right, all] = this.form.isShown && !this.isRaw ? this.form.checked() : [0, 0];
    this.find("[data-checked]").textContent = right ? `${right} of ${all} checked` : "";
  }

  paint(focused) {
    const source = this.find("[data-source]");
    const here = focused?.closest?.("[data-form] .part") ? valueOf(focused) : "";
    const values = this.isRaw ? [] : this.form.values();
    const isShort = values.length * source.textContent.length < MOST_PAINTED;
    const times = paint(source, isShort ? values : [], here);
    this.card.querySelectorAll("[data-absent]").forEach((part) => part.removeAttribute("data-absent"));
    if (here.trim() && times === 0) focused.closest("[data-part]").setAttribute("data-absent", "");
  }

  /** Accept the part that has the focus and go to the next; false at the last. */
  next(target) {
    const following = this.form.next(target);
    this.count();
    following?.focus();
    return Boolean(following);
  }
}

const KINDS = { label: LabelEditor, labels: LabelsEditor, text: TextEditor, json: JsonEditor };

/** Return a card's editor. */
export const editorOf = (card) => new KINDS[card.dataset.editor](card);
