// What changed between two texts, word by word: the shortest edit script (Myers, 1986).
const WORD = /\s+|[\p{L}\p{N}\p{M}_]+|[^]/gu;
const MOST_EDITS = 1000; // memory grows with their square; beyond, the middle is one change

/** Return [kind, text] pairs whose "same" and "gone" make `before`, "same" and "new" make `after`. */
export function wordDiff(before, after) {
  const a = before.match(WORD) ?? [];
  const b = after.match(WORD) ?? [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  return joined([
    ...a.slice(0, start).map((word) => ["same", word]),
    ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)),
    ...a.slice(a.length - end).map((word) => ["same", word]),
  ]);
}

function middle(a, b) {
  const trace = a.length && b.length ? search(a, b) : undefined;
  if (!trace) return [...a.map((word) => ["gone", word]), ...b.map((word) => ["new", word])];
  const script = [];
  let [x, y] = [a.length, b.length];
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const furthest = trace[d];
    const k = x - y;
    const isDown = k === -d || (k !== d && furthest.get(k - 1) < furthest.get(k + 1));
    const from = isDown ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : furthest.get(from);
    const fromY = d === 0 ? 0 : fromX - from;
    while (x > fromX && y > fromY) { x -= 1; y -= 1; script.push(["same", a[x]]); }
    if (d === 0) break;
    if (isDown) { y -= 1; script.push(["new", b[y]]); } else { x -= 1; script.push(["gone", a[x]]); }
  }
  return script.reverse();
}

// For each number of edits, how far along `a` each diagonal reached before it; undefined: too many.
function search(a, b) {
  const furthest = new Map([[1, 0]]);
  const trace = [];
  for (let d = 0; d <= Math.min(a.length + b.length, MOST_EDITS); d += 1) {
    trace.push(new Map(furthest));
    for (let k = -d; k <= d; k += 2) {
      const isDown = k === -d || (k !== d && furthest.get(k - 1) < furthest.get(k + 1));
      let x = isDown ? furthest.get(k + 1) : furthest.get(k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      furthest.set(k, x);
      if (x >= a.length && x - k >= b.length) return trace;
    }
  }
  return undefined;
}

// Within one change what is gone comes first; spaces between two changes belong to them.
function joined(script) {
  const pairs = [];
  let gone = "";
  let added = "";
  const flush = () => {
    if (gone) pairs.push(["gone", gone]);
    if (added) pairs.push(["new", added]);
    gone = added = "";
  };
  for (const [at, [kind, text]] of script.entries()) {
    const isBetween = kind === "same" && /^\s+$/.test(text) && (gone || added)
      && (script[at + 1]?.[0] ?? "same") !== "same";
    if (kind === "gone" || isBetween) gone += text;
    if (kind === "new" || isBetween) added += text;
    if (kind !== "same" || isBetween) continue;
    flush();
    if (pairs.at(-1)?.[0] === "same") pairs.at(-1)[1] += text; else pairs.push(["same", text]);
  }
  flush();
  return pairs;
}

const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** Put a text into an element as text; characters that nobody sees are named. */
export function write(element, text) {
  for (const piece of text.split(new RegExp(`(${UNSEEN.source})`))) {
    if (!UNSEEN.test(piece)) { element.append(piece); continue; }
    const name = document.createElement("span");
    name.className = "unseen";
    name.textContent = `U+${piece.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    element.append(name);
  }
}

/** Show what makes one text of the other; where nothing differs, the text. */
export function showDiff(element, before, after) {
  element.replaceChildren();
  for (const [kind, text] of wordDiff(before, after)) {
    if (kind === "same") { write(element, text); continue; }
    const mark = document.createElement(kind === "gone" ? "del" : "ins");
    write(mark, text);
    element.append(mark);
  }
}
