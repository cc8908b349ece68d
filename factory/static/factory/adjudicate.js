// Adjudication by keyboard: a digit takes a version, letters press what carries them.
"use strict";
(() => {
  const area = document.getElementById("adjudicate");
  if (!area) return;

  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.getModifierState("AltGraph")) return;
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    const button = digit
      ? area.querySelectorAll("[data-version]")[digit - 1]
      : area.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (button) button.click();
    else if (event.key === "e") {
      document.getElementById("another").open = true;
      document.getElementById("output").focus();
    } else return;
    event.preventDefault();
  });

  // One press is one decision.
  area.querySelector("form").addEventListener("submit", (event) => {
    if (area.dataset.sent) event.preventDefault();
    area.dataset.sent = "yes";
  });
})();
