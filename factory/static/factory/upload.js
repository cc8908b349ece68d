// Log files: dropped or chosen, sent one after the other, each with its progress.
"use strict";
(() => {
  const form = document.querySelector("form[data-upload]");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const zone = form.querySelector(".drop");
  const list = form.querySelector(".uploads");
  const button = form.querySelector("button");
  const limit = Number(form.dataset.limit);
  let waiting = [];

  const megabytes = (bytes) => `${(bytes / 1048576).toFixed(bytes < 10485760 ? 1 : 0)} MB`;
  const duration = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);

  function add(files) {
    for (const file of files) {
      const row = document.createElement("li");
      const name = document.createElement("strong");
      name.textContent = file.name;
      const bar = document.createElement("progress");
      bar.max = file.size || 1;
      bar.value = 0;
      bar.setAttribute("aria-label", file.name);
      const said = document.createElement("span");
      said.className = "muted";
      said.textContent = megabytes(file.size);
      row.append(name, bar, said);
      list.append(row);
      if (file.size > limit) say(row, said, `larger than ${megabytes(limit)}`, "error");
      else waiting.push({ file, row, bar, said });
    }
    list.hidden = !list.children.length;
    input.required = !waiting.length;
  }

  function say(row, said, text, kind) {
    said.textContent = text;
    row.className = kind || "";
  }

  function send({ file, row, bar, said }) {
    return new Promise((done) => {
      const data = new FormData();
      for (const [name, value] of new FormData(form)) {
        if (typeof value === "string") data.append(name, value); // all of them before the file
      }
      data.append("file", file);
      const request = new XMLHttpRequest();
      const start = Date.now();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => {
        bar.max = event.total;
        bar.value = event.loaded;
        const left = ((Date.now() - start) / 1000) * ((event.total - event.loaded) / event.loaded);
        const rest = event.loaded < event.total ? `about ${duration(left)} left` : "reading the rest";
        say(row, said, `${megabytes(event.loaded)} of ${megabytes(event.total)}, ${rest}`);
      });
      request.addEventListener("load", () => {
        if (request.status === 200) {
          const link = document.createElement("a");
          link.href = request.response.url;
          link.textContent = "uploaded and redacted: see what comes in";
          said.replaceChildren(link);
          row.className = "done";
          done(request.response.url);
        } else {
          const error = request.response && request.response.error;
          say(row, said, error ? error.message : `The server answered ${request.status}.`, "error");
          done(null);
        }
      });
      request.addEventListener("error", () => {
        say(row, said, "The connection broke. Choose the file again.", "error");
        done(null);
      });
      request.send(data);
    });
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const files = waiting;
    waiting = [];
    button.disabled = true;
    const pages = [];
    for (const upload of files) pages.push(await send(upload));
    button.disabled = false;
    input.required = true;
    if (files.length === 1 && pages[0]) window.location.assign(pages[0]);
  });
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  for (const name of ["dragover", "dragenter"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    add(event.dataTransfer.files);
  });
  window.addEventListener("beforeunload", (event) => {
    if (button.disabled) event.preventDefault();
  });
})();
