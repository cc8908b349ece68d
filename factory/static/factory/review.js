// Keyboard review. The next card is in the browser before the key is pressed; each decision has an id
// made here, is kept in localStorage until the server has it, and may be sent twice without harm.
"use strict";
(() => {
  const area = document.getElementById("review");
  const empty = document.getElementById("empty");
  const keys = document.getElementById("keys");
  const STORE = `understudy-review:${area.dataset.decide}`;
  const RETRY_MS = [500, 1000, 2000, 5000, 10000];
  const deck = []; // cards the server leased to this page, the one on screen first
  const sent = new Map(); // review id -> its card, until the server has taken the decision
  let shown; // the card on screen
  let shownAt = 0;
  let sending = false;
  let failures = 0;

  // --- what is not sent yet ---
  const load = () => JSON.parse(localStorage.getItem(STORE) || "[]");
  const store = (entries) => localStorage.setItem(STORE, JSON.stringify(entries));
  const drop = (id) => store(load().filter((entry) => entry.review_id !== id));
  const say = (text) => { document.getElementById("said").textContent = text; };

  function tell(text, address) {
    const sync = document.getElementById("sync");
    sync.textContent = text;
    if (!address) return;
    const link = document.createElement("a");
    link.href = address;
    link.textContent = "Sign in";
    sync.append(" ", link);
  }

  function uuid() {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16)); // without TLS there is no randomUUID
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  // --- cards ---
  const current = () => deck[0];

  function show() {
    const card = current();
    deck.forEach((other) => { other.hidden = other !== card; });
    const isWaiting = load().length > 0 && !card;
    empty.hidden = Boolean(card) || isWaiting;
    if (isWaiting) tell("Sending…");
    if (card === shown) return; // what the reviewer does in it goes on
    shown = card;
    if (!card) return;
    shownAt = performance.now();
    card.focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
  }

  function put(card, first) {
    if (deck.some((other) => other.dataset.item === card.dataset.item)) return;
    if (first) deck.unshift(card); else deck.push(card);
    if (!card.isConnected) area.insertBefore(card, empty);
  }

  function parse(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html.trim(); // from our own templates, escaped there
    return holder.content.firstElementChild;
  }

  // --- decisions ---
  function enqueue(entry) {
    store([...load(), entry]);
    tell("Saving."); // "All saved." is never on the screen while it is not so
    flush();
  }

  function decide(decision, output = "") {
    const card = current();
    if (!card) return;
    deck.shift();
    card.remove();
    const entry = {
      review_id: uuid(), url: "decide", item: card.dataset.item, decision, output,
      note: card.querySelector("[data-note] input").value,
      seconds: ((performance.now() - shownAt) / 1000).toFixed(2),
    };
    sent.set(entry.review_id, card);
    enqueue(entry);
    say(current() ? `${decision}. Next example.` : decision);
    show();
  }

  function undo() {
    say("Undoing.");
    enqueue({ review_id: uuid(), url: "undo" });
  }

  // --- sending, one after the other ---
  async function flush() {
    if (sending) return;
    sending = true;
    for (let entry = load()[0]; entry; entry = load()[0]) {
      if (!(await send(entry))) break;
    }
    sending = false;
    if (load().length === 0) {
      tell("All saved.");
      if (!current()) await more();
    }
    show();
  }

  async function post(url, fields) {
    const body = new URLSearchParams({ ...fields, held: deck.map((card) => card.dataset.item).join() });
    const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
    return fetch(url, {
      method: "POST", body, redirect: "manual",
      headers: { Accept: "application/json", "X-CSRFToken": token ? token[1] : "" },
    });
  }

  async function send({ url, ...entry }) {
    let response;
    try {
      response = await post(area.dataset[url], entry);
    } catch {
      return later("No connection.");
    }
    if (response.type === "opaqueredirect") {
      tell(`${load().length} not saved yet: you were signed out.`, area.dataset.signIn);
      return false;
    }
    if (response.status >= 500 || response.status === 429 || response.status === 408) {
      return later(`The server answered ${response.status}.`);
    }
    failures = 0;
    if (response.status === 403) {
      tell(`${load().length} not saved yet: reload this page.`);
      return false;
    }
    const card = sent.get(entry.review_id);
    sent.delete(entry.review_id);
    drop(entry.review_id);
    if (response.ok) take(await response.json(), url === "undo");
    else refuse(response.status, await response.json(), card, entry);
    return true;
  }

  function later(why) {
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
    failures += 1;
    tell(`${why} ${load().length} not saved yet, trying again.`);
    setTimeout(flush, wait);
    return false;
  }

  function take(answer, isUndo) {
    answer.cards.map(parse).forEach((card) => put(card, answer.undone));
    document.getElementById("progress").innerHTML = answer.progress;
    if (isUndo) {
      say(answer.undone ? "Undone. The example is back." : "Nothing to undo.");
      show();
    }
  }

  function refuse(status, { error }, card, entry) {
    if (status === 400 && card) {
      put(card, true);
      const problem = card.querySelector("[data-problem]");
      problem.textContent = error.message;
      problem.hidden = false;
      show();
      if (entry.decision === "edit") edit(card);
    } else {
      tell(error.message); // 409, 404: somebody else has it, or had it
    }
    say(error.message);
  }

  async function more() {
    try {
      const response = await post(area.dataset.more, {});
      if (response.ok) take(await response.json(), false);
    } catch {
      tell("No connection. Reload when it is back.");
    }
  }

  // --- editing ---
  function edit(card) {
    const editor = card.querySelector("[data-editor]");
    if (!editor) return find(card);
    editor.hidden = false;
    editor.querySelector("textarea").focus();
    card.querySelector("[data-do=edit]").firstChild.textContent = "Save ";
    return undefined;
  }

  function editOrSave(card) {
    const editor = card.querySelector("[data-editor]");
    if (editor && !editor.hidden) decide("edit", editor.querySelector("textarea").value);
    else edit(card);
  }

  function find(card) {
    const search = card.querySelector("[data-search]");
    if (!search) return;
    search.hidden = false;
    search.querySelector("input").focus();
  }

  function narrow(input) {
    const typed = input.value.trim().toLowerCase();
    const labels = [...input.closest(".card").querySelectorAll("[data-label]")];
    const fits = (label) => label.dataset.label.toLowerCase();
    const starting = labels.filter((label) => fits(label).startsWith(typed));
    const found = starting.length ? starting : labels.filter((label) => fits(label).includes(typed));
    labels.forEach((label) => { label.hidden = !found.includes(label); });
    return found;
  }

  function note(card) {
    const field = card.querySelector("[data-note]");
    field.hidden = false;
    field.querySelector("input").focus();
  }

  const choose = (label) => decide("edit", label.dataset.label);

  function act(name) {
    const card = current();
    if (name === "undo") undo();
    else if (!card) return;
    else if (name === "edit") editOrSave(card);
    else if (name === "accept" && card.querySelector("[data-do=accept]").disabled) say("No answer yet.");
    else decide(name);
  }

  // --- keys ---
  function typing(event) {
    const { target, key } = event;
    if (key === "Escape") {
      if (target.closest("[data-search]")) { target.value = ""; narrow(target); }
      target.blur();
      current()?.focus({ preventScroll: true });
    } else if (key === "Enter" && target.matches("textarea") && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      editOrSave(current());
    } else if (key === "Enter" && target.closest("[data-search]")) {
      event.preventDefault();
      const [first] = narrow(target);
      if (first) choose(first);
    } else if (key === "Enter" && target.closest("[data-note]")) {
      event.preventDefault();
      current().focus({ preventScroll: true });
    }
  }

  const NAMES = { a: "accept", x: "reject", s: "skip", u: "undo", e: "edit" };

  document.addEventListener("keydown", (event) => {
    if (keys.open) return;
    if (event.target.matches("input, textarea, select")) { typing(event); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.getModifierState("AltGraph")) return;
    const card = current();
    const digit = event.code.match(/^(?:Digit|Numpad)(\d)$/);
    if (event.key === "?") keys.showModal();
    else if (NAMES[event.key]) act(NAMES[event.key]);
    else if (event.key === "Enter" && !event.target.matches("a, button, summary")) act("accept");
    else if (event.key === "/" && card) find(card);
    else if (event.key === "n" && card) note(card);
    else if (digit && !event.shiftKey && card) {
      const label = card.querySelectorAll("[data-label]")[(Number(digit[1]) + 9) % 10];
      if (!label) return;
      choose(label);
    } else return;
    event.preventDefault();
  });

  area.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do) act(button.dataset.do);
    else if (button.dataset.label !== undefined) choose(button);
    else if (button.id === "undo-empty") undo();
  });
  area.addEventListener("input", (event) => {
    if (event.target.closest("[data-search]")) narrow(event.target);
  });
  area.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  window.addEventListener("online", flush);

  // --- start: what was decided before a reload is sent first, and not shown again ---
  const decided = new Set(load().map((entry) => entry.item));
  area.querySelectorAll(".card").forEach((card) => {
    if (decided.has(card.dataset.item)) card.remove();
    else deck.push(card);
  });
  show();
  if (load().length) flush();
})();
