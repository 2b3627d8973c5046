// What was answered and not yet received: sent in order, in the background, again and again until the server has it.
// Each entry lies in localStorage under a key of its own, so a reload, a crash or another tab loses none.

import { api } from "./app.js";

const AGAIN = [401, 408, 409, 425, 429, 500, 502, 503, 504]; // kept and tried again; 401: after a log-in
const FAULTS = 6; // after so many times a 500 is a bug of the server, and trying again no use

export class Outbox extends EventTarget {
  #entries = [];
  #prefix;
  #sending = null;
  #timer = 0;
  /** What keeps entries from being sent, or null. */
  trouble = null;

  /** Entries are a person's own: `name` is who signs them. */
  constructor(name) {
    super();
    this.#prefix = `deertrack.answer.${name}.`;
    try {
      this.#entries = Object.keys(localStorage).filter((key) => key.startsWith(this.#prefix)).sort()
        .map((key) => ({ ...JSON.parse(localStorage.getItem(key)), id: key }));
    } catch { /* no storage: entries live as long as the page */ }
    for (const event of ["online", "focus"]) addEventListener(event, () => this.flush()); // focus: back from logging in
  }

  get size() { return this.#entries.length; }
  has(id) { return this.#entries.some((entry) => entry.id === id); }
  about(sighting) { return this.#entries.some((entry) => entry.sighting === sighting); }

  /** Put {sighting, method, path, body, etag} in and send it as soon as possible. Returns its id. */
  add(entry) {
    const key = `${Date.now()}.${[...crypto.getRandomValues(new Uint32Array(3))].join(".")}`;
    const id = this.#prefix + key;
    this.#entries.push({ ...entry, id, key, tries: 0 });
    this.#store(this.#entries.at(-1));
    this.#changed();
    this.flush();
    return id;
  }

  /** Take an entry out that was not sent yet. False: it is on its way or gone. */
  withdraw(id) {
    if (!this.has(id) || this.#sending === id) return false;
    this.#drop(id);
    return true;
  }

  /** Resolves once an entry is out of the box. */
  settled(id) {
    return new Promise((resolve) => {
      const look = () => { if (!this.has(id)) { this.removeEventListener("change", look); resolve(); } };
      this.addEventListener("change", look);
      look();
    });
  }

  /** Send all there is, in order. Events: "sent" {entry, data, etag}, "refused" {entry, error}, "change". */
  async flush() {
    if (this.#sending) return;
    clearTimeout(this.#timer);
    while (this.#entries.length) {
      const entry = this.#entries[0];
      this.#sending = entry.id;
      let news = null;
      try {
        const answer = await api(entry.method, entry.path, { body: entry.body, etag: entry.etag, key: entry.key });
        // An answer that was given before comes without its headers.
        const now = answer.etag ?? (answer.data.sighting ? `"${answer.data.sighting.revision}"` : null);
        for (const later of this.#entries.slice(1)) {
          if (now && later.sighting === entry.sighting && later.etag) { later.etag = now; this.#store(later); }
        }
        news = new CustomEvent("sent", { detail: { entry, data: answer.data, etag: now } });
      } catch (error) {
        const hopeful = error.status === undefined || (AGAIN.includes(error.status) && !(error.status === 500 && ++entry.tries >= FAULTS));
        if (hopeful) {
          this.trouble = error;
          this.#sending = null;
          this.#timer = setTimeout(() => this.flush(), this.#pause());
          this.#changed();
          return;
        }
        news = new CustomEvent("refused", { detail: { entry, error } });
      }
      this.trouble = null;
      this.#waits = 0;
      this.#sending = null;
      this.#drop(entry.id);
      this.dispatchEvent(news);
    }
  }

  #waits = 0;
  #pause() { return Math.min(1000 * 2 ** this.#waits++, 30000); }

  #store(entry) {
    try { localStorage.setItem(entry.id, JSON.stringify(entry)); } catch { /* full or forbidden: it stays in memory */ }
  }

  #drop(id) {
    this.#entries = this.#entries.filter((entry) => entry.id !== id);
    try { localStorage.removeItem(id); } catch { /* as above */ }
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event("change")); }
}
