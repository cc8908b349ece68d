// What every page shares: polling while somebody looks, copying, asking before what cannot be undone.
"use strict";
(() => {
  const POLL_MS = 2500;
  const toast = document.getElementById("toast");
  let fading;

  function say(text) {
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(fading);
    fading = setTimeout(() => { toast.hidden = true; }, 4000);
  }

  // Fragments with hx-trigger="poll from:body" follow; a page nobody looks at asks nothing.
  setInterval(() => {
    if (document.visibilityState === "visible") window.htmx?.trigger(document.body, "poll");
  }, POLL_MS);

  // Swap only what changed, so that focus, selections and open details stay.
  const seen = new Map();
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { requestConfig, serverResponse } = event.detail;
    if (seen.get(requestConfig.path) === serverResponse) event.detail.shouldSwap = false;
    seen.set(requestConfig.path, serverResponse);
  });
  document.body.addEventListener("htmx:sendError", () => say("No connection. Trying again."));
  document.body.addEventListener("htmx:responseError", (event) => {
    say(`The server answered ${event.detail.xhr.status}. Reload the page if this stays.`);
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) {
      event.preventDefault();
      return;
    }
    const button = event.submitter;
    if (button && event.target.method === "post") setTimeout(() => { button.disabled = true; });
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("button:disabled").forEach((b) => { b.disabled = false; });
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("Copied.");
    } catch {
      window.getSelection().selectAllChildren(source); // no clipboard without TLS
      say("Selected: copy it with your keyboard.");
    }
  });

  // What only a script can offer appears once there is one.
  document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });
})();
