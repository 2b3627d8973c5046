// Sending a card: what is chosen, what would come of it, the bytes in pieces, and going on after anything breaks off.

import { api, ask, complain, el, Problem, toast } from "/static/app.js";

const PHOTO = /\.(jpe?g|png|webp|hei[cf])$/i, KEPT = /\.(jpe?g|png|webp|hei[cf]|json|csv|zip)$/i;
const HIDDEN = /(^|\/)([.@$]|__MACOSX)/;
const CARD_FOLDER = /^(DCIM|\d{3}[A-Z0-9_]{5})$/i; // made by cameras; names no place
const TOGETHER = 3; // pieces under way at once
const csrf = document.querySelector('meta[name="csrf"]').content;
const $ = (id) => document.getElementById(id);
const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const size = (bytes) => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let chosen = []; // {path, file}

// ---- choosing

/** Files of a drop, folders and all. */
async function dropped(transfer) {
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ path: entry.fullPath.replace(/^\//, ""), file });
    } else {
      const reader = entry.createReader();
      for (;;) { // a reader gives a hundred entries at a time
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) break;
        for (const one of some) await walk(one);
      }
    }
  };
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  for (const entry of entries) await walk(entry);
  return found;
}

/** What a photo's station would be called, as the server does it. */
function station(path, root) {
  const folders = path.split("/").slice(0, -1), above = root ? root.split("/") : [];
  const names = [...folders.slice(above.length), ...above.reverse()];
  return names.find((name) => !CARD_FOLDER.test(name)) ?? $("name").value;
}

const parent = (path) => path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";

/** Folders that hold all photos, from the outermost to the innermost, and the one to take unless told otherwise. */
function roots(photos) {
  const folders = [...new Set(photos.map((photo) => parent(photo.path)))];
  let shared = folders[0];
  while (shared && !folders.every((folder) => folder === shared || folder.startsWith(`${shared}/`))) shared = parent(shared);
  const all = [""];
  if (shared) shared.split("/").forEach((_, i, parts) => all.push(parts.slice(0, i + 1).join("/")));
  return { all, best: folders.includes(shared) ? shared.split("/")[0] : shared };
}

function stations() {
  const photos = chosen.filter(({ path }) => PHOTO.test(path)), counts = new Map();
  for (const { path } of photos) {
    const name = station(path, $("root").value);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const named = [...counts].sort(([a], [b]) => a.localeCompare(b));
  $("stations").replaceChildren(...named.slice(0, 60).map(([name, count]) => el("li", { class: "badge" }, `${name}: ${count.toLocaleString("en")}`)),
    named.length > 60 ? el("li", {}, `and ${named.length - 60} more`) : "");
}

function choose(files) {
  const wanted = files.filter(({ path }) => KEPT.test(path) && !HIDDEN.test(path));
  if (!wanted.length) return toast("There is no photo in that.", { bad: true });
  // In one order, so that the same folder is known again.
  chosen = wanted.sort((a, b) => a.path < b.path ? -1 : 1);
  const photos = chosen.filter(({ path }) => PHOTO.test(path)), archives = chosen.filter(({ path }) => /\.zip$/i.test(path));
  const results = chosen.filter(({ path }) => /\.json$/i.test(path));
  const fact = (number, words) => el("li", {}, el("b", {}, number), words);
  $("counts").replaceChildren(fact(photos.length.toLocaleString("en"), "photos"),
    archives.length ? fact(archives.length, "archives") : "", fact(size(chosen.reduce((sum, { file }) => sum + file.size, 0)), "to send"));
  const left = files.length - wanted.length;
  $("left-out").hidden = !left;
  $("left-out").textContent = `${many(left, "other file")} left out: only photos, .json, .csv and .zip are sent.`;
  const top = chosen[0].path.split("/");
  $("name").value = top.length > 1 ? top[0] : archives[0]?.path.replace(/\.zip$/i, "") ?? "card";
  $("root-field").hidden = $("stations").hidden = !photos.length;
  $("root").replaceChildren();
  if (photos.length) {
    const { all, best } = roots(photos), told = new Set();
    for (const root of all) {
      const names = [...new Set(photos.map(({ path }) => station(path, root)))].sort();
      const label = `${names.slice(0, 3).join(", ")}${names.length > 3 ? ` … (${names.length})` : ""}`;
      if (told.has(label) && root !== best) continue;
      told.add(label);
      $("root").append(el("option", { value: root, selected: root === best }, `${label}${root ? `  (folders in ${root})` : ""}`));
    }
    stations();
  }
  $("detections").replaceChildren(...results.map(({ path }) => el("option", { value: path }, path)),
    archives.length ? el("option", { value: "" }, "in the archive …") : "");
  const radios = Object.fromEntries([...document.querySelectorAll("[name=where]")].map((radio) => [radio.value, radio]));
  radios.file.disabled = $("detections").disabled = !results.length && !archives.length;
  (results.length ? radios.file : radios.run ?? (archives.length ? radios.file : radios.whole)).checked = true;
  $("drop").hidden = true;
  $("chosen").hidden = false;
  $("send").focus();
}

// ---- sending

/** One upload under way. */
class Sending {
  constructor(upload, files) {
    this.id = upload.id;
    this.chunk = upload.chunk;
    this.files = upload.files.map((file) => ({ ...file, blob: files[file.n] }));
    this.total = this.files.reduce((sum, file) => sum + file.size, 0);
    this.done = this.files.reduce((sum, file) => sum + file.received, 0);
    this.began = { at: Date.now(), done: this.done };
    this.bad = [];
    this.paused = false;
  }

  show(text) {
    $("bar").max = this.total || 1;
    $("bar").value = this.done;
    const speed = (this.done - this.began.done) / ((Date.now() - this.began.at) / 1000), left = (this.total - this.done) / speed;
    const time = speed > 0 && left > 5 ? `, ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left` : "";
    $("progress").textContent = text ?? `${size(this.done)} of ${size(this.total)}${speed > 0 ? `, ${size(speed)}/s` : ""}${time}`;
  }

  async run() {
    const queue = this.files.filter((file) => file.received < file.size);
    await Promise.all(Array.from({ length: TOGETHER }, async () => {
      for (let file; (file = queue.shift()) && !this.failed;) await this.send(file);
    }));
    if (this.failed) throw this.failed;
  }

  async send(file) {
    for (let pause = 1000; file.received < file.size && !this.failed;) {
      while (this.paused) await wait(200);
      try {
        const piece = file.blob.slice(file.received, file.received + this.chunk);
        let bytes;
        try { bytes = await piece.arrayBuffer(); } catch { this.bad.push(file.path); return; } // the card cannot be read
        const answer = await fetch(`/api/v1/uploads/${this.id}/files/${file.n}?offset=${file.received}`, {
          method: "PUT", body: bytes, headers: { "Content-Type": "application/octet-stream", "X-CSRF-Token": csrf },
        });
        const data = await answer.json().catch(() => ({}));
        if (!answer.ok) throw new Problem(answer.status, data);
        this.done += file.received + bytes.byteLength > file.size ? 0 : bytes.byteLength;
        file.received += bytes.byteLength;
        pause = 1000;
        this.show();
      } catch (error) {
        // The line or the server is gone for a while; all else has to be told.
        if (error instanceof Problem && ![408, 429, 500, 502, 503, 504].includes(error.status)) { this.failed = error; return; }
        this.show(`No answer; trying again in ${Math.round(pause / 1000)} s …`);
        await wait(pause);
        pause = Math.min(2 * pause, 30000);
      }
    }
  }
}

let sending = null;

async function send(event) {
  event.preventDefault();
  const where = document.querySelector("[name=where]:checked")?.value;
  let detections = where === "file" ? $("detections").value : null;
  if (where === "file" && !detections) {
    const input = el("input", { required: true, placeholder: "card/md.json" });
    if (!await ask("Which file in the archive?", { body: el("label", { class: "field" }, el("span", {}, "Path of the results file inside the .zip"), input), yes: "Send" })) return;
    detections = input.value;
  }
  const ending = {
    detections, whole_photo: where === "whole", timezone: $("zone").value.trim(),
    min_confidence: $("confidence").value === "" ? null : Number($("confidence").value),
    root: $("root").value || ($("root").options.length ? "." : null),
  };
  $("send").disabled = true;
  try {
    const files = chosen.map(({ path, file }) => ({ path, size: file.size }));
    const { data: upload } = await api("POST", "/api/v1/uploads", { body: { name: $("name").value, files } });
    localStorage.setItem("deertrack.zone", ending.timezone);
    sending = new Sending(upload, chosen.map(({ file }) => file));
    $("chosen").hidden = true;
    $("sending").hidden = false;
    if (sending.done) toast(`${size(sending.done)} had arrived before and are not sent again.`);
    sending.show();
    $("pause").focus();
    await sending.run();
    if (sending.bad.length) {
      $("trouble").hidden = $("skip").hidden = false;
      $("trouble").textContent = `${many(sending.bad.length, "file")} cannot be read from the card: ${sending.bad.slice(0, 5).join(", ")}${sending.bad.length > 5 ? " …" : ""}`;
      $("pause").hidden = true;
      $("skip").onclick = () => finish({ ...ending, incomplete: true }).catch(complain);
      $("skip").focus();
      return;
    }
    await finish(ending);
  } catch (error) {
    $("send").disabled = false;
    $("sending").hidden = true;
    $("chosen").hidden = false;
    sending = null;
    complain(error);
  }
}

async function finish(ending) {
  const { data } = await api("POST", `/api/v1/uploads/${sending.id}/done`, { body: ending });
  sending = null;
  location.assign(`/jobs/${data.job}`);
}

// ---- a folder that the server sees

const folders = () => [$("run-photos").value.trim()];

async function look() {
  $("plan").textContent = "Looking …";
  try {
    const { data } = await api("POST", "/api/v1/runs/plan", { body: { photos: folders() } });
    $("plan").replaceChildren(el("p", {}, `${many(data.photos_found, "photo")}, ${data.photos_known.toLocaleString("en")} of them read before. By station:`),
      el("ul", { class: "row small chips" }, Object.entries(data.stations).slice(0, 100).map(([name, count]) => el("li", { class: "badge" }, `${name}: ${count.toLocaleString("en")}`))));
  } catch (error) { $("plan").textContent = ""; complain(error); }
}

async function run(event) {
  event.preventDefault();
  const body = {
    photos: folders(), detections: $("run-detections").value.trim() || null, whole_photo: $("run-whole").checked,
    timezone: $("run-zone").value.trim(), min_confidence: $("run-confidence").value === "" ? null : Number($("run-confidence").value),
  };
  try {
    const { data } = await api("POST", "/api/v1/runs", { body });
    location.assign(`/jobs/${data.job}`);
  } catch (error) { complain(error); }
}

// ---- the page

if ($("sender")) {
  $("choose-folder").addEventListener("click", () => $("folder").click());
  $("choose-files").addEventListener("click", () => $("files").click());
  for (const input of [$("folder"), $("files")]) {
    input.addEventListener("change", () => {
      choose([...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
      input.value = "";
    });
  }
  const drop = $("drop");
  for (const type of ["dragenter", "dragover"]) drop.addEventListener(type, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => { event.preventDefault(); try { choose(await dropped(event.dataTransfer)); } catch (error) { complain(error); } });
  $("chosen").addEventListener("submit", send);
  $("other").addEventListener("click", () => { $("chosen").hidden = true; $("drop").hidden = false; $("choose-folder").focus(); });
  $("root").addEventListener("change", stations);
  $("name").addEventListener("input", () => $("root").options.length && stations());
  $("pause").addEventListener("click", () => {
    sending.paused = !sending.paused;
    $("pause").textContent = sending.paused ? "Go on" : "Pause";
    sending.show(sending.paused ? `Paused at ${size(sending.done)} of ${size(sending.total)}` : undefined);
    sending.began = { at: Date.now(), done: sending.done };
  });
  addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
  const zone = localStorage.getItem("deertrack.zone") ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const input of [$("zone"), $("run-zone")]) if (input && zone) input.value = zone;
}
$("look")?.addEventListener("click", () => { if ($("run-photos").reportValidity()) look(); });
$("run")?.addEventListener("submit", run);
for (const button of document.querySelectorAll("[data-discard]")) {
  button.addEventListener("click", async () => {
    if (!await ask("Discard what has arrived of this upload?", { yes: "Discard", danger: true })) return;
    try {
      await api("DELETE", `/api/v1/uploads/${button.dataset.discard}`);
      button.closest("tr").remove();
    } catch (error) { complain(error); }
  });
}

const WORDS = { todo: "waits", doing: "at work", succeeded: "done", failed: "failed", cancelled: "stopped", aborted: "stopped" };
const KIND = { succeeded: "good", failed: "bad", doing: "warn" };
function state(row, job) {
  const { stage, done, total } = job.stages.at(-1) ?? {};
  const far = job.status === "doing" && stage ? `${stage}${total ? ` ${Math.floor(100 * done / total)} %` : ""}` : WORDS[job.status];
  row.querySelector(".state").replaceChildren(el("span", { class: `badge ${KIND[job.status] ?? ""}` }, far));
}
async function watch() {
  const rows = new Map([...document.querySelectorAll("#jobs [data-job]")].map((row) => [Number(row.dataset.job), row]));
  if (!rows.size) return;
  for (let open = true; open; await wait(3000)) {
    try {
      const { data } = await api("GET", "/api/v1/jobs?limit=10");
      for (const job of data.items) if (rows.has(job.id)) state(rows.get(job.id), job);
      open = data.items.some((job) => ["todo", "doing"].includes(job.status));
    } catch (error) { if (error.status) { complain(error); return; } }
  }
}
watch();
