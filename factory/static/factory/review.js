// Keyboard review: which card is on the screen, and what a key or a button does with it. The next
// card is in the browser before the key is pressed; decisions leave by the outbox, which loses none.
import { Digits, Keys } from "./review_keys.js";
import { Outbox, post, uuid } from "./review_outbox.js";
import { editorOf } from "./review_editors.js";

const BEAT_MS = 60_000; // how often the server hears that the cards are still looked at
const MOST_HELD = 20; // items named in a request; the server reads no more

const area = document.getElementById("review");
const empty = document.getElementById("empty");
const sheet = document.getElementById("keys");
const deck = []; // cards the server leased to this page, the one on screen first
const editors = new WeakMap();
const sent = new Map(); // review id -> its card, until the server has taken the decision
let shown; // the card on screen
let shownAt = 0;

const say = (text) => { document.getElementById("said").textContent = text; };

function tell(text, link) {
  const sync = document.getElementById("sync");
  sync.textContent = text;
  if (!link) return;
  const anchor = document.createElement("a");
  anchor.href = area.dataset.signIn;
  anchor.textContent = "Sign in";
  sync.append(" ", anchor);
}

const keys = new Keys(sheet);
const digits = new Digits({
  typed: (text) => { if (text) say(`Label ${text}…`); },
  chosen: (at) => chooseAt(at),
});
const outbox = new Outbox(
  `${area.dataset.user ?? ""}:${area.dataset.decide}`,
  { decide: area.dataset.decide, undo: area.dataset.undo },
  { held, taken, refused, tell, emptied },
);

// --- cards ---
const current = () => deck[0];
const editor = () => editors.get(current());

const ids = () => deck.map((card) => card.dataset.item);

// What was decided and is not sent yet is held too: it must not be dealt again.
function held(sending) {
  const waiting = outbox.entries().filter((entry) => entry.item && entry.review_id !== sending.review_id);
  return [...ids(), ...waiting.map((entry) => entry.item)].slice(0, MOST_HELD);
}

function show() {
  const card = current();
  deck.forEach((other) => { other.hidden = other !== card; });
  const isWaiting = outbox.size > 0 && !card;
  empty.hidden = Boolean(card) || isWaiting;
  if (card === shown) return; // what the reviewer does in it goes on
  shown = card;
  digits.forget();
  if (!card) return;
  shownAt = performance.now();
  editor().paint();
  card.focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

function put(card, isFirst) {
  if (deck.some((other) => other.dataset.item === card.dataset.item)) return;
  if (isFirst) deck.unshift(card); else deck.push(card);
  if (!card.isConnected) area.insertBefore(card, empty);
  if (!editors.has(card)) editors.set(card, editorOf(card));
  keys.draw(card);
}

function parse(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html.trim(); // from our own templates, escaped there
  return holder.content.firstElementChild;
}

// --- decisions ---
function decide(decision, output = "", reason = "") {
  const card = deck.shift();
  card.remove();
  const entry = {
    review_id: uuid(), url: "decide", item: card.dataset.item, decision, output, reason,
    note: card.querySelector("[data-note] input").value,
    seconds: ((performance.now() - shownAt) / 1000).toFixed(2),
  };
  sent.set(entry.review_id, card);
  outbox.add(entry);
  say(current() ? `${decision}. Next example.` : decision);
  show();
}

function undo() {
  say("Undoing.");
  outbox.add({ review_id: uuid(), url: "undo" });
}

function taken(entry, answer) {
  sent.delete(entry.review_id);
  answer.cards.map(parse).forEach((card) => put(card, answer.undone));
  document.getElementById("progress").innerHTML = answer.progress; // as parse() says
  if (entry.url === "undo") say(answer.undone ? "Undone. The example is back." : "Nothing to undo.");
  show();
}

function refused(entry, status, error) {
  const card = sent.get(entry.review_id);
  sent.delete(entry.review_id);
  if (status === 400 && card) {
    put(card, true);
    const problem = card.querySelector("[data-problem]");
    problem.textContent = error.message;
    problem.hidden = false;
    show();
    if (entry.decision === "edit") editor().open();
  } else {
    tell(error.message); // 409, 404: somebody else has it, or had it
  }
  say(error.message);
}

async function emptied() {
  if (!current()) {
    try {
      const response = await post(area.dataset.more, { held: "" });
      if (response.ok) taken({}, await response.json());
    } catch {
      tell("No connection. Reload when it is back.");
    }
  }
  show();
}

// --- what keys and buttons do ---
function accept() {
  if (digits.isOpen) { digits.end(); return; }
  const answer = editor().answer();
  if (answer !== undefined) decide("edit", answer);
  else if (editor().isNew) say("No answer yet.");
  else decide("accept");
}

function chooseAt(at, target = document.activeElement) {
  const output = editor()?.press?.(at, target);
  if (output !== undefined) decide("edit", output);
}

function take() {
  const teacher = current().querySelector("[data-teacher]");
  if (teacher) say(editor().take(teacher.textContent));
}

function note() {
  const field = current().querySelector("[data-note]");
  field.hidden = false;
  field.querySelector("input").focus();
}

// Rejecting and flagging ask why before they are done.
const asked = () => current()?.querySelector("[data-why]:not([hidden])");

function ask(decision) {
  const panel = current().querySelector(`[data-why=${decision}]`);
  const isOpen = panel === asked();
  if (asked()) asked().hidden = true;
  if (isOpen) { decide(decision); return; }
  panel.hidden = false;
  panel.scrollIntoView({ block: "nearest" });
  panel.focus({ preventScroll: true });
}

function because(panel, reason) {
  panel.hidden = true;
  decide(panel.dataset.why, "", reason);
}

/** Take a key while a reason is asked for; false where it means nothing there. */
function answerWhy(event) {
  const panel = asked();
  const chip = panel.querySelectorAll("[data-reason]")[Number(event.key) - 1];
  if (event.key === "Escape") { panel.hidden = true; current().focus({ preventScroll: true }); }
  else if (/^[1-9]$/.test(event.key) && chip) because(panel, chip.dataset.reason);
  else if (event.key === "Enter" && !event.target.matches("button")) because(panel, "");
  else if (keys.meaning(event) === panel.dataset.why) ask(panel.dataset.why);
  else return false;
  return true;
}

const ACTIONS = {
  accept,
  take,
  note,
  undo,
  edit: () => editor().open(),
  find: () => { if (editor().narrow) editor().open(); },
  raw: () => { if (editor().raw) say(editor().raw()); },
  reject: () => ask("reject"),
  flag: () => ask("flag"),
  skip: () => decide("skip"),
  help: () => sheet.showModal(),
};

function act(name) {
  if (current() || name === "undo" || name === "help") ACTIONS[name]?.();
}

// --- keys ---
function typing(event) {
  const { target, key } = event;
  const isSearch = target.closest("[data-search]");
  if (key === "Escape") {
    if (isSearch) { target.value = ""; editor().narrow(); }
    target.blur();
    current()?.focus({ preventScroll: true });
  } else if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    accept();
  } else if (key === "Enter" && isSearch) {
    event.preventDefault();
    const [label] = editor().narrow();
    if (label) chooseAt(editor().labels().indexOf(label));
    if (label && current()?.contains(target)) { target.value = ""; editor().narrow(); }
  } else if (key === "Enter" && target.closest("[data-note]")) {
    event.preventDefault();
    current().focus({ preventScroll: true });
  } else if (key === "Enter" && !event.shiftKey && target.closest("[data-form]")) {
    event.preventDefault();
    if (!editor().next(target)) current().focus({ preventScroll: true });
  } else if (target.type === "radio" && /^\d$/.test(key)) {
    event.preventDefault();
    chooseAt(Number(key) - 1, target);
  }
}

document.addEventListener("keydown", (event) => {
  if (sheet.open) return;
  if (event.target.matches("input, textarea, select")) { typing(event); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.getModifierState("AltGraph")) return;
  if (asked()) {
    if (answerWhy(event)) event.preventDefault();
    return;
  }
  const digit = event.shiftKey ? null : event.code.match(/^(?:Digit|Numpad)(\d)$/);
  const meaning = keys.meaning(event);
  if (meaning) act(meaning);
  else if (event.key === "Enter" && !event.target.matches("a, button, summary")) act("accept");
  else if (digit && editor()?.choices) digits.press(digit[1], editor().choices);
  else return;
  event.preventDefault();
});

area.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.closest("[data-form]")) editor().act(button);
  else if (button.dataset.do) act(button.dataset.do);
  else if (button.dataset.label !== undefined) chooseAt(editor().labels().indexOf(button));
  else if (button.dataset.reason !== undefined) because(asked(), button.dataset.reason);
  else if (button.id === "undo-empty") undo();
});
area.addEventListener("input", (event) => {
  if (!event.target.closest("[data-note]")) editor()?.refresh(event.target);
});
area.addEventListener("focusin", (event) => {
  if (event.target.closest("[data-form]")) editor()?.paint(event.target);
});
area.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("help").addEventListener("click", () => sheet.showModal());
window.addEventListener("online", () => outbox.flush());

// --- leases: kept while somebody looks, given back when the page is left ---
async function beat() {
  if (!area.dataset.heartbeat || !current() || document.visibilityState !== "visible") return;
  const named = ids();
  try {
    const response = await post(area.dataset.heartbeat, { held: named.join() });
    if (!response.ok) return;
    const mine = (await response.json()).held.map(String);
    const gone = named.filter((id) => !mine.includes(id));
    const [, ...later] = deck;
    later.filter((card) => gone.includes(card.dataset.item)).forEach((card) => {
      deck.splice(deck.indexOf(card), 1);
      card.remove();
    });
  } catch {
    // the next beat asks again; what is not saved is said by the outbox
  }
}
setInterval(beat, BEAT_MS);
window.addEventListener("pagehide", () => {
  if (!area.dataset.release || !current()) return;
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
  const body = new URLSearchParams({ held: ids().join(), csrfmiddlewaretoken: token });
  navigator.sendBeacon(area.dataset.release, body);
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload(); // its cards were given back
});

// --- start: what was decided before a reload is sent first, and not shown again ---
const decided = new Set(outbox.entries().map((entry) => entry.item));
area.querySelectorAll(".card").forEach((card) => {
  if (decided.has(card.dataset.item)) card.remove();
  else put(card, false);
});
show();
if (outbox.size) outbox.flush(); else tell("All saved.");
