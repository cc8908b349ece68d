// Where an answer's values stand in the input: painted by the CSS Highlight API, the text untouched.
const LETTER = "[\\p{L}\\p{N}]";
const MOST = 200; // marks of one value
const LONGEST = 300; // of a value that is looked for; a longer one is hardly copied

function pattern(value) {
  const words = value.trim().split(/\s+/u).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const starts = new RegExp(`^${LETTER}`, "u").test(value.trim());
  const ends = new RegExp(`${LETTER}$`, "u").test(value.trim());
  const source = words.join("\\s+");
  return new RegExp(`${starts ? `(?<!${LETTER})` : ""}${source}${ends ? `(?!${LETTER})` : ""}`, "giu");
}

/** Return the ranges of an element's text that are the value, whatever its case and line breaks. */
export function rangesOf(element, value) {
  if (!value.trim() || value.length > LONGEST) return [];
  const wanted = pattern(value);
  const ranges = [];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text && ranges.length < MOST; text = texts.nextNode()) {
    if (text.parentElement.closest("[data-role=system], .turn > span")) continue;
    for (const found of text.data.matchAll(wanted)) {
      const range = new Range();
      range.setStart(text, found.index);
      range.setEnd(text, found.index + found[0].length);
      ranges.push(range);
    }
  }
  return ranges;
}

/** Paint where `values` stand in an element, and `present` above them; returns how often it does. */
export function paint(element, values, present = "") {
  if (!globalThis.CSS?.highlights) return 0;
  const here = rangesOf(element, present);
  CSS.highlights.set("source", new Highlight(...values.flatMap((value) => rangesOf(element, value))));
  const focused = new Highlight(...here);
  focused.priority = 1;
  CSS.highlights.set("source-here", focused);
  return here.length;
}
