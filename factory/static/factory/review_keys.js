// Which key does what. Keys can be changed; what was changed is remembered in this browser.
const STORE = "understudy-keys";
const PRESET = {
  accept: "a", edit: "e", reject: "x", skip: "s", flag: "f", undo: "u", note: "n", find: "/",
  take: "t", raw: "r", help: "?",
};
const DIGITS_MS = 700; // a number that may go on waits this long for its next digit

export class Keys {
  /** `sheet` is the dialog that lists the keys and changes them. */
  constructor(sheet) {
    this.sheet = sheet;
    this.now = { ...PRESET, ...this.changed() };
    sheet.addEventListener("click", (event) => this.click(event.target));
    sheet.addEventListener("keydown", (event) => this.take(event));
    sheet.addEventListener("close", () => this.listen(undefined));
    this.draw(document);
  }

  changed() {
    try { return JSON.parse(localStorage.getItem(STORE)) ?? {}; } catch { return {}; }
  }

  /** Return what a key press means here, undefined where it means nothing. */
  meaning(event) {
    return Object.keys(this.now).find((name) => this.now[name] === event.key);
  }

  draw(root) {
    root.querySelectorAll("[data-key]").forEach((kbd) => { kbd.textContent = this.now[kbd.dataset.key]; });
  }

  click(target) {
    const button = target.closest("button");
    if (button?.dataset.rebind) this.listen(button.dataset.rebind);
    else if (button?.id === "keys-reset") this.set({ ...PRESET });
  }

  listen(name) {
    this.waiting = name;
    this.sheet.querySelectorAll("[data-rebind]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.rebind === name));
    });
    this.sheet.querySelector("[data-said]").textContent = name ? `Press the new key for “${name}”; Esc keeps the old one.` : "";
  }

  take(event) {
    if (!this.waiting || event.key === "Tab" || event.key === "Shift") return;
    event.preventDefault();
    const said = this.sheet.querySelector("[data-said]");
    if (event.key === "Escape") { this.listen(undefined); return; }
    if ([...event.key].length !== 1 || /[\d\s]/.test(event.key) || event.ctrlKey || event.metaKey || event.altKey) {
      said.textContent = "Only a letter or a sign can be a key: digits are the labels'.";
      return;
    }
    const other = this.meaning(event); // two actions with one key: they change places
    const next = { ...this.now, [this.waiting]: event.key };
    if (other) next[other] = this.now[this.waiting];
    this.listen(undefined);
    this.set(next);
  }

  set(keys) {
    this.now = keys;
    const changed = Object.entries(keys).filter(([name, key]) => PRESET[name] !== key);
    if (changed.length) localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(changed)));
    else localStorage.removeItem(STORE);
    this.draw(document);
  }
}

/** Digits that choose one of many: joined to a number where there are more than ten. */
export class Digits {
  /** `typed` is told what stands there, `chosen` the place in the list. */
  constructor({ typed, chosen }) {
    this.told = typed;
    this.chosen = chosen;
    this.text = "";
  }

  press(digit, count) {
    if (count <= 10) {
      const at = count === 10 ? (Number(digit) + 9) % 10 : Number(digit) - 1;
      if (at >= 0 && at < count) this.chosen(at);
      return;
    }
    clearTimeout(this.timer);
    this.text += digit;
    const number = Number(this.text);
    if (number < 1 || number > count) { this.forget(); return; }
    this.told(this.text);
    if (number * 10 > count) this.end();
    else this.timer = setTimeout(() => this.end(), DIGITS_MS);
  }

  get isOpen() { return this.text !== ""; }

  /** Take the number as it stands. */
  end() {
    const at = Number(this.text) - 1;
    this.forget();
    this.chosen(at);
  }

  forget() {
    clearTimeout(this.timer);
    this.text = "";
    this.told("");
  }
}
