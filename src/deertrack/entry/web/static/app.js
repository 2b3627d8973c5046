// Shared by all pages: asking the API, saying what came of it, asking the user back, telling times and keys.

let csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
const whoMeta = document.querySelector('meta[name="who"]');

/** Who is logged in: {name, role} with role 0 nobody, 1 viewer, 2 reviewer, 3 admin. */
export const who = { name: whoMeta?.content ?? "", role: Number(whoMeta?.dataset.role ?? 0) };

/** An answer of the API that is no success; `problem` is its problem+json. */
export class Problem extends Error {
  constructor(status, problem) {
    const title = problem.title ?? (typeof problem.detail === "string" ? problem.detail : `HTTP ${status}`);
    super(problem.title && problem.detail ? `${title} – ${problem.detail}` : title);
    this.status = status;
    this.problem = problem;
  }
}

/**
 * Ask the API. Returns {data, etag}; throws Problem (or TypeError: no network). `etag` is sent as If-Match; with a
 * `key` the same request may be sent again and is done once.
 */
export async function api(method, path, { body, etag, key, signal, again = true } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  if (key) headers["Idempotency-Key"] = key;
  const answer = await fetch(path, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  let data = {};
  try { data = text ? JSON.parse(text) : {}; } catch { data = { title: text.slice(0, 200) }; }
  if (answer.status === 403 && method !== "GET" && again && await renewed()) return api(method, path, { body, etag, key, signal, again: false });
  if (!answer.ok) throw new Problem(answer.status, data);
  return { data, etag: answer.headers.get("ETag") };
}

/** After a new log-in or a restart of the server, an open page needs another token. False: that was not the reason. */
async function renewed() {
  const { data } = await api("GET", "/api/v1/session");
  if (data.name !== who.name) throw new Problem(401, { title: `${data.name} is logged in here now`, detail: `Log in as ${who.name} again.` });
  const other = data.csrf !== csrf;
  csrf = data.csrf;
  return other;
}

/** An element: el("p", {class: "muted", onclick: f}, "text", child, …). Text is text, never HTML. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** The address of an animal's picture, cut out, at most `side` pixels long. */
export const crop = (detection, side = 320) => `/api/v1/detections/${detection}/crop?side=${side}`;

/** A probability as people say it. */
export const percent = (p) => (p === null || p === undefined ? "–" : p > 0 && p < .005 ? "< 1 %" : `${Math.round(100 * p)} %`);

/** An instant in a station's zone, as templating.py tells it; style "day" leaves the time out. */
export function when(iso, zone, style) {
  if (!iso) return "time unknown";
  const parts = {};
  const format = new Intl.DateTimeFormat("en-US", { timeZone: zone || "UTC", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  for (const { type, value } of format.formatToParts(new Date(iso))) parts[type] = value;
  const date = `${parts.day} ${parts.month} ${parts.year}`;
  return style === "day" ? date : `${date}, ${parts.hour}:${parts.minute}`;
}

// A popover stays above open dialogs; a live region has to be there before it speaks.
const toasts = el("div", { class: "toasts", role: "status", "aria-live": "polite", popover: "manual" });
document.body.append(toasts);

/**
 * Say something for a while. `undo`: called by the toast's button. `link`: {href, text} beside it.
 * Returns {say(text), close()}. Bad news stays longer.
 */
export function toast(text, { undo, bad = false, link, ms = bad ? 12000 : 7000 } = {}) {
  const words = el("span", {}, text);
  const box = el("div", { class: bad ? "toast bad" : "toast" }, words);
  const close = () => { box.remove(); if (!toasts.children.length) toasts.hidePopover?.(); };
  if (link) box.append(el("a", { class: "button small", href: link.href }, link.text));
  if (undo) box.append(el("button", { class: "button small", type: "button", onclick: () => { close(); undo(); } }, "Undo"));
  box.append(el("button", { class: "button small", type: "button", "aria-label": "Dismiss", onclick: close }, "×"));
  let timer = setTimeout(close, ms);
  for (const event of ["mouseenter", "focusin"]) box.addEventListener(event, () => clearTimeout(timer));
  for (const event of ["mouseleave", "focusout"]) box.addEventListener(event, () => { clearTimeout(timer); timer = setTimeout(close, ms); });
  while (toasts.children.length > 1) toasts.firstChild.remove();
  toasts.append(box);
  try { toasts.showPopover?.(); } catch { /* it is shown already */ }
  return { say: (other) => { words.textContent = other; }, close };
}

/** Say what went wrong. */
export function complain(error) {
  if (error?.name === "AbortError") return;
  const text = error instanceof Problem ? error.message
    : error instanceof TypeError ? "The server does not answer. Check the connection and try again." : String(error?.message ?? error);
  toast(text, { bad: true, link: error?.status === 401 ? { href: "/login", text: "Log in" } : undefined });
}

/**
 * Ask back in a dialog. `body`: a node or several under the question. Resolves to true, or false when cancelled.
 * `ready`: called with the confirming button, to disable it while a form is incomplete.
 */
export function ask(question, { body = [], yes = "OK", no = "Cancel", danger = false, wide = false, ready } = {}) {
  return new Promise((resolve) => {
    const confirm = el("button", { class: `button ${danger ? "danger" : "primary"}`, value: "yes" }, yes);
    const dialog = el("dialog", { class: wide ? "wide" : "", "aria-labelledby": "question" },
      el("form", { method: "dialog" },
        el("h2", { id: "question" }, question), ...[body].flat(),
        el("div", { class: "actions" }, no ? el("button", { class: "button", value: "no", type: "button", onclick: () => dialog.close("no") }, no) : null, confirm)));
    dialog.addEventListener("close", () => { resolve(dialog.returnValue === "yes"); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector("input:not([type=radio], [type=checkbox]), textarea") ?? confirm).focus();
    ready?.(confirm, dialog);
  });
}

/** Whether keys belong to the page now: nobody types, and no dialog is open. */
export function keysAreFree(event) {
  return !event.defaultPrevented && !event.altKey && !document.querySelector("dialog[open]")
    && !event.target.closest?.("input:not([type=range], [type=checkbox]), select, textarea, [contenteditable]");
}

const helped = [["?", "these keys"], ["G then R / I / H", "go to Review, Individuals, History"]];

/** Tell the help dialog (key ?) about keys of this page: [["N", "new individual"], …]. */
export function keys(list) { helped.unshift(...list); }

function help() {
  const rows = helped.map(([key, does]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, does)));
  ask("Keys", { no: "", yes: "Close", wide: rows.length > 8, body: el("dl", { class: "keys" }, rows) });
}

/** Do something after the page that comes next has loaded: its toast. */
export function toastNext(text, edit) {
  sessionStorage.setItem("deertrack.toast", JSON.stringify({ text, edit }));
}

/** Take an edit back, after showing what that means. Returns {text, edit}, or null where it was not done. */
export async function undoEdit(id, { preview = true } = {}) {
  try {
    if (preview) {
      const { data } = await api("POST", `/api/v1/edits/${id}/undo`, { body: { dry_run: true } });
      const stays = data.kept?.length ? [el("p", {}, "These stay as they are, because they were changed again later:"),
        el("ul", {}, data.kept.map((kept) => el("li", {}, kept.text)))] : [];
      const says = [el("p", {}, data.text || `${data.reverted} ${data.reverted === 1 ? "thing goes" : "things go"} back to how it was.`), ...stays];
      if (!await ask("Undo this?", { body: says, yes: "Undo" })) return null;
    }
    const { data } = await api("POST", `/api/v1/edits/${id}/undo`, { body: {} });
    return data;
  } catch (error) { complain(error); return null; }
}

/** A field for an individual by name or number: {node, number()}; the number is null while nobody is called so. */
export function individualField(label) {
  const options = el("datalist", { id: "individuals-found" }), known = new Map();
  const input = el("input", { list: "individuals-found", autocomplete: "off", placeholder: "name or number" });
  const number = () => known.get(input.value.trim().toLowerCase()) ?? null;
  input.addEventListener("input", async () => {
    const search = input.value.trim();
    if (!search || number()) return;
    try {
      const { data } = await api("GET", `/api/v1/individuals?${new URLSearchParams({ search, limit: 12 })}`);
      for (const one of data.items) { known.set(one.name.toLowerCase(), one.number); known.set(String(one.number), one.number); }
      options.replaceChildren(...data.items.map((one) => el("option", { value: one.name }, `No. ${one.number}, ${one.sighting_count} ×`)));
      input.dispatchEvent(new Event("change"));
    } catch (error) { complain(error); }
  });
  return { node: el("label", { class: "field" }, el("span", {}, label), input, options), input, number };
}

/** Take an edit back and show the page as it is then. */
export async function undoAndReload(id, options) {
  const undone = await undoEdit(id, options);
  if (!undone) return;
  toastNext(undone.text, undone.edit);
  location.reload();
}

// ---- every page

const marked = document.querySelector(".links [aria-current]");
if (marked) marked.parentElement.scrollLeft = marked.offsetLeft - marked.parentElement.offsetLeft - 24; // on a phone not all fit

const MENUS = "details:is(.menu, .filters)[open]";
let went = 0;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll(MENUS)) menu.open = false;
  if (!keysAreFree(event) || event.ctrlKey || event.metaKey) return;
  const page = { r: "/review", i: "/individuals", h: "/history" }[event.key.toLowerCase()];
  if (event.key === "?") { event.preventDefault(); help(); }
  else if (page && Date.now() - went < 1200) { event.preventDefault(); event.stopImmediatePropagation(); location.assign(page); }
  went = event.key.toLowerCase() === "g" ? Date.now() : 0;
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(MENUS)) if (!menu.contains(event.target)) menu.open = false;
});
document.getElementById("keys")?.addEventListener("click", help);
document.getElementById("logout")?.addEventListener("click", async () => {
  try { await api("DELETE", "/api/v1/session"); location.assign("/login"); } catch (error) { complain(error); }
});

const kept = sessionStorage.getItem("deertrack.toast");
if (kept) {
  sessionStorage.removeItem("deertrack.toast");
  const { text, edit } = JSON.parse(kept);
  toast(text, { undo: edit ? () => undoAndReload(edit, { preview: false }) : undefined });
}

/** Show how many sightings wait, beside "Review". */
export function showWaiting(total) {
  const badge = document.getElementById("waiting");
  if (!badge) return;
  badge.hidden = !total;
  badge.textContent = total > 999 ? "999+" : total;
  badge.setAttribute("aria-label", `${total} wait`);
}
if (who.role && !document.body.classList.contains("review")) {
  api("GET", "/api/v1/reviews?limit=1&order=oldest").then(({ data }) => showWaiting(data.total)).catch(() => {});
}
