// Decisions that the server has not confirmed. Each is kept in the browser under a key of its own,
// with an id made here: sent again after a lost network, a reload or a new sign-in, it counts once.
const RETRY_MS = [500, 1000, 2000, 5000, 10000];

/** Make a random UUID; without TLS the browser offers no function for it. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Send a form as this site's own pages do. */
export function post(url, fields) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  return fetch(url, {
    method: "POST", body: new URLSearchParams(fields), redirect: "manual",
    headers: { Accept: "application/json", "X-CSRFToken": token ? token[1] : "" },
  });
}

export class Outbox {
  /**
   * `urls` are the addresses by name. `page` is told what happens: held(entry) names the items
   * that it holds while one is sent, taken(entry, answer), refused(entry, status, error), tell(text, link), emptied().
   */
  constructor(name, urls, page) {
    this.prefix = `understudy-review:${name}:`;
    this.urls = urls;
    this.page = page;
    this.unkept = new Map(); // what a full store had no room for
    this.last = 0;
    this.failures = 0;
    this.isSending = false;
  }

  keys() {
    const stored = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
    return [...stored, ...this.unkept.keys()].sort();
  }

  read(key) { return JSON.parse(this.unkept.get(key) ?? localStorage.getItem(key)); }

  entries() { return this.keys().map((key) => this.read(key)); }

  get size() { return this.keys().length; }

  add(entry) {
    this.last = Math.max(this.last + 1, Date.now());
    const key = `${this.prefix}${String(this.last).padStart(15, "0")}:${entry.review_id}`;
    const text = JSON.stringify(entry);
    try {
      localStorage.setItem(key, text);
      this.page.tell("Saving."); // "All saved." is never on the screen while it is not so
    } catch {
      this.unkept.set(key, text);
      this.page.tell("This browser's store is full: keep the page open until all is saved.");
    }
    this.flush();
  }

  drop(key) {
    localStorage.removeItem(key);
    this.unkept.delete(key);
  }

  /** Send what waits, one after the other. */
  async flush() {
    if (this.isSending) return;
    this.isSending = true;
    let isGoing = true;
    for (let key = this.keys()[0]; key && isGoing; key = this.keys()[0]) {
      isGoing = await this.send(key, this.read(key));
    }
    this.isSending = false;
    if (isGoing) {
      this.page.tell("All saved.");
      await this.page.emptied();
    }
  }

  async send(key, { url, ...entry }) {
    let response;
    try {
      response = await post(this.urls[url], { ...entry, held: this.page.held(entry).join() });
    } catch {
      return this.later("No connection.");
    }
    if (response.type === "opaqueredirect") {
      this.page.tell(`${this.size} not saved yet: you were signed out.`, "sign in");
      return false;
    }
    if (response.status >= 500 || response.status === 429 || response.status === 408) {
      return this.later(`The server answered ${response.status}.`);
    }
    if (response.status === 403) {
      this.page.tell(`${this.size} not saved yet: reload this page.`);
      return false;
    }
    let answer;
    try {
      answer = await response.json();
    } catch {
      return this.later("The answer broke off.");
    }
    this.failures = 0;
    this.drop(key);
    if (response.ok) this.page.taken({ url, ...entry }, answer);
    else this.page.refused({ url, ...entry }, response.status, answer.error);
    return true;
  }

  later(why) {
    const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    this.failures += 1;
    this.page.tell(`${why} ${this.size} not saved yet, trying again.`);
    setTimeout(() => this.flush(), wait);
    return false;
  }
}
