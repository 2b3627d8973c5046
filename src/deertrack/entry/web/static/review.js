// The desk: one uncertain sighting after the other beside whom it may be. Answers take effect on the page at once and
// go to the server in the background; the next two sightings are here before they are asked for.

import { Problem, api, ask, complain, crop, el, keys, keysAreFree, percent, showWaiting, toast, undoEdit, when, who } from "./app.js";
import { compare } from "./merging.js";
import { Outbox } from "./outbox.js";
import { Overlay, Step } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const desk = $("desk");
const VIEW = 900, FINE = 2048, THUMB = 160; // pixels
const AHEAD = 2; // sightings fetched before they are asked for
const BATCH = 30;
const GUARD = 180; // ms after a sighting comes up in which a key still belongs to the one before
const mayAnswer = who.role >= 2;

const filters = new URLSearchParams([...new URLSearchParams(location.search)].filter(([, value]) => value));
const outbox = new Outbox(who.name);
const overlay = new Overlay();
const step = new Step(() => overlay.draw(subject, rival));
const subject = step.add($("subject"), (by) => turnFrame(by));
const rival = step.add($("candidate"), (by) => choose(chosen + by));

let queue = []; // ids that wait, best first, without the one on the desk
let total = 0, minutes = 0, done = 0;
let skipped = new Set(read("skipped", []));
let undoable = read("undoable", []); // [{sighting, entry, edit}]
const answered = new Set(); // in this sitting: never offered again
const cache = new Map(); // id → promise of {data, etag, pictures}

let item = null; // on the desk: {id, etag, data, candidates}
let frame = 0, chosen = -1, photo = 0;
let arming = "", whole = false, alike = false, shownAt = 0, framePicked = false;

function read(name, otherwise) {
  try { return JSON.parse(sessionStorage.getItem(`deertrack.review.${name}`)) ?? otherwise; } catch { return otherwise; }
}
function keep(name, value) {
  try { sessionStorage.setItem(`deertrack.review.${name}`, JSON.stringify(value)); } catch { /* only comfort is lost */ }
}

// ---- what waits

async function refill() {
  const query = new URLSearchParams(filters);
  if (query.get("until")) { // that day too
    const day = new Date(`${query.get("until")}T00:00:00Z`);
    query.set("until", new Date(day.getTime() + 86400000).toISOString());
  }
  query.set("limit", BATCH + skipped.size + answered.size);
  const { data } = await api("GET", `/api/v1/reviews?${query}`);
  const unsent = data.items.filter(({ id }) => outbox.about(id)).length;
  total = data.total - unsent;
  minutes = data.total ? data.minutes * total / data.total : 0;
  const open = data.items.map(({ id }) => id).filter((id) => id !== item?.id && !answered.has(id) && !outbox.about(id));
  queue = open.filter((id) => !skipped.has(id));
  progress();
}

function progress() {
  const left = Math.max(total, 0);
  const about = minutes >= 90 ? `about ${Math.round(minutes / 60)} hours` : minutes >= 1.5 ? `about ${Math.round(minutes)} minutes` : "a minute";
  $("left").textContent = left ? `${left.toLocaleString("en")} left, ${about}${done ? `; ${done} done` : ""}` : done ? `${done} done` : "";
  $("progress").max = done + left || 1;
  $("progress").value = done;
  showWaiting(left);
}

function count(by) {
  minutes = total > 0 ? minutes * Math.max(total - by, 0) / total : 0;
  total -= by;
  done = Math.max(done + by, 0);
  progress();
}

function load(id) {
  if (!cache.has(id)) {
    const coming = api("GET", `/api/v1/sightings/${id}`).then(({ data, etag }) => {
      const best = data.candidates.slice(0, 4).flatMap(({ best: b }) => (b ? [crop(b.detection_id, VIEW)] : []));
      const queries = data.candidates.slice(0, 1).flatMap(({ best: b }) => (b?.query_detection_id ? [b.query_detection_id] : []));
      const frames = [...new Set([...queries, ...data.photos.map((p) => p.detection_id).slice(0, 3)])].map((d) => crop(d, VIEW));
      const small = [...data.candidates.flatMap(({ best: b }) => (b ? [b.detection_id] : [])), ...data.photos.map((p) => p.detection_id).slice(0, 12)];
      const pictures = [...frames, ...best, ...small.map((d) => crop(d, THUMB))].map((src) => { const image = new Image(); image.src = src; return image; });
      return { data, etag: etag ?? `"${data.revision}"`, pictures };
    });
    coming.catch(() => cache.delete(id)); // asked again when it is needed
    cache.set(id, coming);
  }
  return cache.get(id);
}

function ahead() {
  for (const id of queue.slice(0, AHEAD)) load(id).catch(() => {});
  for (const id of cache.keys()) if (id !== item?.id && !queue.slice(0, AHEAD).includes(id) && !outbox.about(id)) cache.delete(id);
}

async function next() {
  item = null;
  lock();
  try {
    if (queue.length < AHEAD + 1) await refill();
  } catch (error) { if (!queue.length) { offline(error, next); return; } }
  const id = queue.shift();
  if (id === undefined) { finished(); return; }
  await show(id);
}

async function show(id, { push = true, fresh = false } = {}) {
  retry = null;
  if (fresh) cache.delete(id);
  let found;
  try { found = await load(id); } catch (error) { offline(error, () => show(id, { push })); return; }
  queue = queue.filter((other) => other !== id);
  item = { id, etag: found.etag, data: found.data, candidates: found.data.candidates.slice(0, 9) };
  const address = `/review/${id}${filters.size ? `?${filters}` : ""}`;
  if (location.pathname !== `/review/${id}`) history[push ? "pushState" : "replaceState"]({}, "", address);
  document.title = `Sighting ${id} · ${item.data.station} · deertrack`;
  shownAt = performance.now();
  frame = 0;
  framePicked = whole = false;
  arming = "";
  overlay.pairs = [];
  step.reset();
  desk.classList.remove("done");
  $("over").hidden = true;
  paint();
  choose(item.candidates.length ? 0 : -1);
  ahead();
}

// ---- painting

function paint() {
  const { data } = item;
  $("title").textContent = `Sighting ${item.id}`;
  $("where").textContent = "";
  $("standing").hidden = data.state === "review";
  $("standing").textContent = data.individual ? `${data.by_person ? "said to be" : "taken for"} ${data.individual.name}` : data.state;
  $("sex").value = data.sex;
  $("frames").replaceChildren(...(data.photos.length > 1 ? data.photos.map((p, i) => thumb(p.detection_id, i, () => turnTo(i), p.flank)) : []));
  const others = data.companions ?? [];
  $("companions").replaceChildren(...(others.length ? ["Seen together with ", ...others.flatMap((other, i) => [i ? ", " : "",
    el("a", { href: `/review/${other.sighting_id}${location.search}` }, other.individual?.name ?? `sighting ${other.sighting_id}`)])] : []));
  paintFrame();
  paintCandidates();
}

function thumb(detection, index, click, flank) {
  return el("button", { type: "button", "aria-label": `Photo ${index + 1}`, onclick: click },
    el("img", { src: crop(detection, THUMB), alt: "", loading: "lazy" }), flank === "left" || flank === "right" ? el("i", {}, flank[0].toUpperCase()) : null);
}

function paintFrame() {
  const { data } = item, shot = data.photos[frame];
  mark($("frames"), frame);
  if (!shot) { subject.show("", "", {}); subject.tell("No box of this sighting is left."); return; }
  const place = data.photos.length > 1 ? `${frame + 1} of ${data.photos.length}` : "";
  const alt = `Photo ${frame + 1} of the animal in question`;
  if (whole) {
    subject.show(`/api/v1/photos/${shot.image_id}?side=${FINE}`, alt, { fine: `/api/v1/photos/${shot.image_id}`, corner: place });
  } else subject.show(crop(shot.detection_id, VIEW), alt, { fine: crop(shot.detection_id, FINE), corner: place });
  overlay.box = whole ? shot.box : null;
  $("where").textContent = [data.station, when(shot.taken_at ?? data.started_at, data.timezone), ...(data.photos.length > 1 ? [`${data.photos.length} photos`] : [])].join(" · ");
  $("where").title = $("where").textContent;
  $("boxes").href = `/photos/${shot.image_id}`;
  $("whole").setAttribute("aria-pressed", whole);
  for (const side of ["left", "right"]) $(`flank-${side}`).setAttribute("aria-pressed", shot.flank === side);
  match();
}

function paintCandidates() {
  const rows = item.candidates.map((candidate, i) => el("li", {}, el("button", { type: "button", class: candidate.fresh ? "cand fresh" : "cand", "aria-pressed": String(i === chosen), onclick: () => (arming ? armed(i) : choose(i)) },
    el("span", { class: "photo" }, candidate.best ? el("img", { src: crop(candidate.best.detection_id, THUMB), alt: "" }) : null),
    el("b", {}, el("kbd", { class: "key" }, String(i + 1)), el("span", {}, candidate.name), el("span", { class: "number" }, percent(candidate.probability))),
    candidate.probability === null ? el("span") : el("meter", { min: 0, max: 1, value: candidate.probability, "aria-label": `probability of ${candidate.name}` }),
    el("small", {}, lastSeen(candidate)))));
  const rest = item.data.new_probability;
  rows.push(el("li", {}, el("p", { class: "muted small" }, item.candidates.length ? "None of these" : "Nobody known resembles it",
    rest === null || rest === undefined ? "" : `: ${percent(rest)}`)));
  $("candidates").replaceChildren(...rows);
  candidateButtons();
}

function lastSeen(candidate) {
  const seen = candidate.last_seen;
  const where = seen ? `${when(seen.at, seen.timezone, "day")}, ${seen.station}` : "time unknown";
  return candidate.sightings ? `${candidate.sightings} × · last ${where}` : where;
}

function choose(index) {
  if (!item) return;
  chosen = item.candidates.length ? Math.min(Math.max(index, 0), item.candidates.length - 1) : -1;
  photo = 0;
  const candidate = item.candidates[chosen];
  [...$("candidates").querySelectorAll(".cand")].forEach((button, i) => {
    button.setAttribute("aria-pressed", String(i === chosen));
    if (i === chosen) reveal(button.parentElement);
  });
  if (candidate) {
    $("name").textContent = `${candidate.name}`;
    $("seen").textContent = `No. ${candidate.number} · ${percent(candidate.probability)} · ${candidate.sex} · ${lastSeen(candidate)}`;
    $("photos").replaceChildren(...(shots(candidate).length > 1 ? shots(candidate).map((d, i) => thumb(d, i, () => { photo = i; paintRival(); })) : []));
  } else {
    $("name").textContent = "Nobody known";
    $("seen").textContent = "Nobody in the catalogue resembles it.";
    $("photos").replaceChildren();
  }
  const twin = item.data.photos.findIndex((p) => p.detection_id === candidate?.best?.query_detection_id);
  if (!framePicked && twin >= 0) frame = twin;
  paintFrame();
  paintRival();
  candidateButtons();
}

/** Scroll the list of candidates, but never the page. */
function reveal(row) {
  const list = $("list").scrollHeight > $("list").clientHeight ? $("list") : $("candidates");
  const box = row.getBoundingClientRect(), frame = list.getBoundingClientRect();
  list.scrollBy({ left: box.left + box.width / 2 - frame.left - frame.width / 2, top: Math.min(box.top - frame.top - 40, 0) || Math.max(box.bottom - frame.bottom + 8, 0) });
}

const shots = (candidate) => (candidate?.best ? [candidate.best.detection_id, ...(candidate.more ?? [])] : candidate?.more ?? []);

function paintRival() {
  const candidate = item.candidates[chosen], all = shots(candidate);
  mark($("photos"), photo);
  if (!all.length) { rival.show("", "", {}); rival.tell(candidate ? "No photo of it is catalogued." : "Press N if this is a new individual."); match(); return; }
  rival.show(crop(all[photo], VIEW), `Photo of ${candidate.name}`, { fine: crop(all[photo], FINE), corner: all.length > 1 ? `${photo + 1} of ${all.length}` : "" });
  match();
}

function mark(strip, index) {
  [...strip.children].forEach((button, i) => {
    i === index ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current");
    if (i === index) strip.scrollTo({ left: button.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + button.clientWidth / 2 });
  });
}

function candidateButtons() {
  const candidate = item?.candidates[chosen];
  $("same").firstElementChild.textContent = candidate ? `Same as ${candidate.name}` : "Same";
  $("same").lastElementChild.textContent = candidate ? chosen + 1 : 1;
  $("same").disabled = $("not").disabled = !candidate || !mayAnswer;
  for (const id of ["new", "unidentifiable", "reject", "flank-left", "flank-right", "sex"]) $(id).disabled = !item || !mayAnswer;
  $("skip").disabled = !item;
  $("back").disabled = false;
  $("undo").disabled = !undoable.length;
  $("arming").hidden = arming !== "not";
  $("uniting").hidden = arming !== "one";
  $("uniting-who").textContent = candidate?.name ?? "";
  $("unite").disabled = !mayAnswer || (item?.candidates.length ?? 0) < 2;
  $("unite").setAttribute("aria-pressed", String(arming === "one"));
  $("list").classList.toggle("arming", Boolean(arming));
}

function lock() { for (const button of $("answers").querySelectorAll("button")) button.disabled = true; }

function over(heading, ...body) {
  item = null;
  overlay.box = null;
  overlay.pairs = [];
  overlay.draw(subject, rival);
  desk.classList.add("done");
  $("over").replaceChildren(el("h2", {}, heading), ...body);
  $("over").hidden = false;
}

let retry = null; // what to do once the server answers again
addEventListener("online", () => retry?.());

function offline(error, again) {
  retry = () => { retry = null; again(); };
  if (error instanceof Problem && error.status < 500 && error.status !== 401) {
    retry = null;
    over("This cannot be shown", el("p", {}, error.message), el("a", { class: "button primary", href: "/review" }, "Show all that wait"));
  } else if (error.status === 401) {
    over("Log in again", el("p", {}, error.message), el("a", { class: "button primary", href: `/login?next=${encodeURIComponent(location.pathname + location.search)}` }, "Log in"));
  } else {
    over("The server does not answer", el("p", {}, "What you answered is kept on this device and sent as soon as it can be."),
      el("button", { class: "button primary", type: "button", onclick: () => retry?.() }, "Try again"));
  }
}

function finished() {
  document.title = "Review · deertrack";
  history.replaceState({}, "", `/review${filters.size ? `?${filters}` : ""}`);
  if (skipped.size && total > 0) {
    over(`${skipped.size} skipped ${skipped.size === 1 ? "one is" : "ones are"} left`,
      el("button", { class: "button primary", type: "button", onclick: () => { skipped = new Set(); keep("skipped", []); next(); } }, "Look at them again"));
  } else if (filters.size && total <= 0) {
    over("Nothing waits behind these filters", el("a", { class: "button primary", href: "/review" }, "Show all that wait"));
  } else {
    over(done ? "All done. Thank you!" : "Nothing waits for you",
      el("p", {}, "The machine is sure about all the others. New photos may bring new questions."),
      el("p", { class: "row" }, el("a", { class: "button primary", href: "/ingest" }, "Add photos"), el("a", { class: "button", href: "/individuals" }, "See who is here")));
  }
  $("undo").disabled = !undoable.length;
}

// ---- answers

function ready() { return mayAnswer && item && performance.now() - shownAt > GUARD; }

function send(body, says) {
  const { id, etag } = item;
  const entry = outbox.add({ sighting: id, method: "POST", path: `/api/v1/sightings/${id}/answer`, body, etag, says, name: who.name });
  undoable = [...undoable, { sighting: id, entry, edit: null, counted: item.data.state === "review" }].slice(-50);
  keep("undoable", undoable);
  said.set(entry, toast(says, { undo: () => undo(entry) }));
  return entry;
}
const said = new Map(); // outbox entry → its toast

function answer(body, says) {
  if (!ready()) return;
  send(body, says);
  answered.add(item.id);
  skipped.delete(item.id);
  if (item.data.state === "review") count(1);
  next();
}

function answerSame(index) {
  const candidate = item?.candidates[index];
  if (candidate) answer({ verdict: "same", individual: candidate.number }, `Sighting ${item.id} is ${candidate.name}`);
}

function answerNot(index) {
  const candidate = item?.candidates[index];
  arming = "";
  if (!candidate || !ready()) { candidateButtons(); return; }
  send({ verdict: "not", individual: candidate.number }, `Sighting ${item.id} is not ${candidate.name}`);
  item.candidates = item.candidates.filter((other) => other !== candidate);
  cache.delete(item.id);
  paintCandidates();
  choose(Math.min(index, item.candidates.length - 1));
}

/** The next digit means another thing: "not" that candidate, or that one and the chosen one are "one" animal. */
function arm(how) {
  if (!ready() || chosen < 0 || (how === "one" && item.candidates.length < 2)) return;
  if (how === "not" && arming === how) { answerNot(chosen); return; }
  arming = arming === how ? "" : how;
  candidateButtons();
}

function armed(index) {
  if (arming === "not") answerNot(index);
  else unite(index);
}

/** Two candidates side by side: one animal, or two? Records of one animal meet here first. */
function unite(index) {
  const pair = [item?.candidates[chosen], item?.candidates[index]];
  arming = "";
  candidateButtons();
  if (!pair[0] || !pair[1] || pair[0] === pair[1] || !ready()) return;
  const { id } = item;
  const told = pair.map(({ number, name, best, sightings }) => ({ number, name, sightings, detection_id: best?.detection_id ?? null }));
  compare(...told, (text, edit) => {
    const again = () => { cache.clear(); if (item?.id === id) show(id, { push: false, fresh: true }); };
    toast(text, { undo: edit ? async () => { if (await undoEdit(edit, { preview: false })) again(); } : undefined });
    again();
  });
}

function skip() {
  if (!item) return;
  if (item.data.state === "review") { skipped.add(item.id); keep("skipped", [...skipped]); }
  next();
}

async function undo(entry = undoable.at(-1)?.entry) {
  const last = undoable.find((one) => one.entry === entry);
  if (!last) return;
  said.get(entry)?.close();
  said.delete(entry);
  const unsent = outbox.withdraw(entry);
  if (!unsent) {
    await outbox.settled(entry);
    if (!undoable.includes(last)) return; // refused meanwhile: there is nothing to undo
    if (!last.edit || !await undoEdit(last.edit, { preview: false })) return;
  }
  undoable = undoable.filter((one) => one !== last);
  keep("undoable", undoable);
  if (answered.delete(last.sighting) && last.counted) count(-1);
  if (item && item.id !== last.sighting && item.data.state === "review") queue.unshift(item.id);
  toast(`Taken back: sighting ${last.sighting} is open again`);
  await show(last.sighting, { fresh: !unsent });
}

outbox.addEventListener("change", () => {
  const size = outbox.size, badge = $("unsaved");
  badge.hidden = !size;
  badge.classList.toggle("stuck", Boolean(outbox.trouble));
  badge.textContent = `${size} unsaved${outbox.trouble ? outbox.trouble.status === 401 ? ": log in again in another tab" : ": no connection, kept on this device" : " …"}`;
});

outbox.addEventListener("sent", ({ detail: { entry, data, etag } }) => {
  const last = undoable.find((one) => one.entry === entry.id);
  if (last) { last.edit = data.edit; keep("undoable", undoable); }
  if (data.text) said.get(entry.id)?.say(data.text);
  retry?.();
  if (item?.id === entry.sighting && etag) item.etag = etag;
  if (!entry.body?.verdict) return;
  if (data.consequences?.retired?.length) toast(`Left without any sighting: ${data.consequences.retired.join(", ")}`);
  // Who is known changed, so what was fetched ahead may say less than is known now.
  for (const id of [...cache.keys()]) if (id !== item?.id) cache.delete(id);
  ahead();
  if (item) newcomers(item.id);
});

/** Candidates that came up since: added below the others, so that no key changes its meaning under a finger. */
async function newcomers(id) {
  try {
    const { data, etag } = await api("GET", `/api/v1/sightings/${id}`);
    if (item?.id !== id || outbox.about(id)) return;
    if (data.state !== item.data.state) return; // found out by If-Match when it is answered
    item.etag = etag ?? item.etag;
    const known = new Set(item.candidates.map(({ number }) => number));
    const fresh = data.candidates.filter(({ number }) => !known.has(number)).map((candidate) => ({ ...candidate, fresh: true }));
    const better = fresh.filter(({ probability }) => probability > .02).slice(0, 9 - item.candidates.length);
    for (const candidate of item.candidates) {
      const now = data.candidates.find(({ number }) => number === candidate.number);
      if (now) candidate.probability = now.probability;
    }
    item.data.new_probability = data.new_probability;
    if (better.length) item.candidates = [...item.candidates, ...better];
    paintCandidates();
    if (chosen < 0 && item.candidates.length) choose(0);
  } catch { /* it stays as it was fetched */ }
}

outbox.addEventListener("refused", async ({ detail: { entry, error } }) => {
  undoable = undoable.filter((one) => one.entry !== entry.id);
  keep("undoable", undoable);
  said.get(entry.id)?.close();
  said.delete(entry.id);
  const current = error.problem?.current;
  if (error.status === 412 && current) {
    if (isWhatWasSaid(entry, current)) return; // the answer had come through, only the word of it was lost
    answered.delete(entry.sighting);
    const now = current.name ? `Sighting ${entry.sighting} is ${current.name}` : `Sighting ${entry.sighting}: ${current.state}`;
    const body = [el("p", {}, el("b", {}, current.by ? `${current.by}: ${now}` : now)), el("p", { class: "muted" }, `Your answer was not recorded: ${entry.says}.`)];
    if (await ask("Somebody else changed this meanwhile", { body, yes: "Look again", no: "Leave it so" })) await show(entry.sighting, { fresh: true });
    else { answered.add(entry.sighting); if (item?.id === entry.sighting) next(); }
    return;
  }
  answered.delete(entry.sighting);
  if (!entry.body?.verdict) { complain(error); return; }
  if (done) count(-1);
  if (await ask("This answer could not be recorded", { body: [el("p", {}, el("b", {}, entry.says)), el("p", {}, error.message)], yes: "Look again", no: "Leave it" })) {
    await show(entry.sighting, { fresh: true });
  }
});

/** Another tab may have sent the same. */
function isWhatWasSaid({ body }, current) {
  return body.verdict === "same" ? current.state === "assigned" && current.number === body.individual && current.by === who.name
    : body.verdict === current.state;
}

addEventListener("beforeunload", (event) => { if (outbox.size) event.preventDefault(); });

// ---- the photo at hand

function turnTo(index) {
  if (!item || !item.data.photos.length) return;
  frame = (index + item.data.photos.length) % item.data.photos.length;
  framePicked = true;
  paintFrame();
}
function turnFrame(by) { turnTo(frame + by); }

function turnRival(by) {
  const all = shots(item?.candidates[chosen]);
  if (!all.length) return;
  photo = (photo + by + all.length) % all.length;
  paintRival();
}

function flank(side) {
  const shot = item?.data.photos[frame];
  if (!shot || !mayAnswer) return;
  shot.flank = shot.flank === side ? "unknown" : side;
  outbox.add({ sighting: item.id, method: "PATCH", path: `/api/v1/detections/${shot.detection_id}`, body: { flank: shot.flank }, says: `Photo shows the side: ${shot.flank}` });
  paint();
  choose(chosen);
}

async function redecide(method, path, body, says) {
  const { id } = item;
  try {
    const { data } = await api(method, path, { body, etag: method === "PATCH" ? item.etag : undefined });
    const takeBack = async () => {
      const undone = await undoEdit(data.edit, { preview: false });
      if (!undone) return;
      toast(undone.text);
      show(id, { fresh: true });
    };
    toast(data.text ?? says, { undo: data.edit ? takeBack : undefined });
    const before = item?.id === id;
    cache.delete(id);
    const { data: now } = await load(id);
    if (!before || item?.id !== id) return;
    if (!now.photos.length || now.state === "no animal") { answered.add(id); count(1); next(); } else await show(id, { push: false });
  } catch (error) { complain(error); if (item?.id === id) show(id, { push: false, fresh: true }); }
}

$("sex").addEventListener("change", () => item && redecide("PATCH", `/api/v1/sightings/${item.id}`, { sex: $("sex").value }, `Sex: ${$("sex").value}`));

async function reject() {
  const shot = item?.data.photos[frame];
  if (!shot) return;
  const last = item.data.photos.length === 1;
  if (await ask("No animal in this box?", { yes: "No animal", danger: true, body: el("p", {}, last ? "The sighting goes with its only box. The history can undo that." : "The box leaves this sighting. The history can undo that.") })) {
    await redecide("POST", `/api/v1/detections/${shot.detection_id}/reject`, {}, "No animal");
  }
}

// ---- alike spots

const pairsOf = new Map();

async function match() {
  overlay.pairs = [];
  $("matches").setAttribute("aria-pressed", alike);
  overlay.draw(subject, rival);
  const a = item?.data.photos[frame]?.detection_id, b = shots(item?.candidates[chosen])[photo];
  if (!alike || whole || !a || !b) return;
  const path = `/api/v1/detections/${a}/matches/${b}`;
  const coming = pairsOf.get(path) ?? api("GET", path).then(({ data }) => data);
  pairsOf.set(path, coming);
  try {
    const { pairs } = await coming;
    if (item?.data.photos[frame]?.detection_id !== a || shots(item?.candidates[chosen])[photo] !== b || !alike) return;
    overlay.pairs = pairs.slice(0, 60);
    overlay.draw(subject, rival);
    rival.corner.hidden = false;
    rival.corner.textContent = pairs.length ? `${pairs.length} spots alike` : "no spots alike";
  } catch (error) { pairsOf.delete(path); complain(error); }
}

function toggleAlike() { alike = !alike; if (item) { whole = false; paintFrame(); paintRival(); } }
function toggleWhole() { whole = !whole; if (item) { step.reset(); paintFrame(); } }

// ---- somebody else, by name

let asked = 0;
$("find").addEventListener("input", async () => {
  const search = $("find").value.trim(), mine = ++asked;
  if (!search) { closeFind(); return; }
  try {
    const { data } = await api("GET", `/api/v1/individuals?${new URLSearchParams({ search, status: "active", limit: 8 })}`);
    if (mine !== asked) return;
    $("found").replaceChildren(...data.items.map((one, i) => {
      const option = el("li", { role: "option", id: `found-${i}`, "aria-selected": String(i === 0), onclick: () => take(one) },
        one.profile_detection_id ? el("img", { src: crop(one.profile_detection_id, THUMB), alt: "" }) : null, el("span", {}, one.name, el("br"), el("small", { class: "muted" }, `No. ${one.number} · ${one.sex} · ${one.sighting_count} ×`)));
      option.individual = one;
      return option;
    }));
    if (!data.items.length) $("found").replaceChildren(el("li", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nobody is called so"));
    $("found").hidden = false;
    $("find").setAttribute("aria-expanded", "true");
    $("find").setAttribute("aria-activedescendant", data.items.length ? "found-0" : "");
    $("found").scrollIntoView({ block: "nearest" });
  } catch (error) { complain(error); }
});

$("find").addEventListener("keydown", (event) => {
  const options = [...$("found").children].filter((option) => option.individual);
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "Escape") { event.preventDefault(); closeFind(); $("find").value = ""; $("find").blur(); } else if (event.key === "Enter" && at >= 0) {
    event.preventDefault();
    take(options[at].individual);
  } else if (["ArrowDown", "ArrowUp"].includes(event.key) && options.length) {
    event.preventDefault();
    const to = (at + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === to)));
    $("find").setAttribute("aria-activedescendant", options[to].id);
  }
});

function closeFind() {
  asked++;
  $("found").hidden = true;
  $("find").setAttribute("aria-expanded", "false");
  $("find").removeAttribute("aria-activedescendant");
}

/** Put somebody found by name among the candidates, to be compared before it is said. */
function take(one) {
  closeFind();
  $("find").value = "";
  $("find").blur();
  if (!item) return;
  let at = item.candidates.findIndex(({ number }) => number === one.number);
  if (at < 0) {
    const found = { number: one.number, name: one.name, sex: one.sex, probability: null, sightings: one.sighting_count, fresh: true, more: [],
      last_seen: one.last_seen ? { at: one.last_seen, station: one.stations?.at(-1) ?? "", timezone: item.data.timezone } : null,
      best: one.profile_detection_id ? { detection_id: one.profile_detection_id } : null };
    if (item.candidates.length === 9) item.candidates.pop();
    at = item.candidates.push(found) - 1;
    paintCandidates();
  }
  choose(at);
}

// ---- keys and buttons

keys([["1 – 9", "the same as that candidate"], ["Enter", "the same as the chosen one"], ["↑ ↓", "choose a candidate"], ["N", "a new individual"],
  ["X, then 1 – 9 or X", "not that candidate (X again: the chosen one)"], ["T, then 1 – 9", "the chosen candidate and that one are one animal"], ["U", "nobody can tell"], ["S or J", "skip, to the next"], ["K", "the one before"], ["Z or Ctrl Z", "undo"],
  ["← →", "other photos of the sighting"], ["Shift ← →", "other photos of the candidate"], ["+ − 0", "zoom, and back; also wheel, pinch, double click, drag"],
  ["M", "spots that are alike"], ["F", "the whole photo"], ["L or R", "this photo shows the left or the right side"], ["/", "somebody else, by name"]]);

const PRESS = {
  n: () => answer({ verdict: "new" }, `Sighting ${item?.id} is a new individual`),
  u: () => answer({ verdict: "unidentifiable" }, `Sighting ${item?.id}: nobody can tell`),
  x: () => arm("not"), t: () => arm("one"), s: skip, j: skip, k: () => history.back(), z: () => undo(), m: toggleAlike, f: toggleWhole, l: () => flank("left"), r: () => flank("right"),
  enter: () => (arming === "not" ? answerNot(chosen) : answerSame(chosen)), escape: () => { arming = ""; candidateButtons(); }, "/": () => $("find").focus(),
  arrowleft: (event) => (event.shiftKey ? turnRival(-1) : turnFrame(-1)), arrowright: (event) => (event.shiftKey ? turnRival(1) : turnFrame(1)),
  arrowup: () => choose(chosen - 1), arrowdown: () => choose(chosen + 1),
  "+": () => step.zoom(1.4), "=": () => step.zoom(1.4), "-": () => step.zoom(1 / 1.4), 0: () => step.reset(),
};
const MAY_REPEAT = ["arrowleft", "arrowright", "arrowup", "arrowdown", "+", "=", "-"];

document.addEventListener("keydown", (event) => {
  if (!keysAreFree(event)) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z" && !event.shiftKey) { event.preventDefault(); undo(); }
    return;
  }
  // A button or a link in focus keeps Enter and a slider its arrows.
  if (key === "enter" && event.target.closest("button, a, summary")) return;
  if (key.startsWith("arrow") && event.target.matches("input")) return;
  const digit = event.code.match(/^(?:Digit|Numpad)([1-9])$/)?.[1] ?? (/^[1-9]$/.test(key) ? key : null);
  const act = digit ? () => (arming ? armed(digit - 1) : answerSame(digit - 1)) : PRESS[key];
  if (!act) return;
  event.preventDefault();
  if (!event.repeat || MAY_REPEAT.includes(key)) act(event);
});

for (const [id, act] of Object.entries({
  same: () => answerSame(chosen), not: () => answerNot(chosen), new: PRESS.n, unidentifiable: PRESS.u, unite: PRESS.t, skip, back: PRESS.k, undo: () => undo(), reject, whole: toggleWhole, matches: toggleAlike,
  "flank-left": PRESS.l, "flank-right": PRESS.r, "zoom-in": PRESS["+"], "zoom-out": PRESS["-"], "zoom-reset": PRESS[0], help: () => $("keys").click(),
})) $(id).addEventListener("click", (event) => { act(); if (event.detail) event.currentTarget.blur(); }); // a clicked button must not catch the next Enter

for (const id of ["brightness", "contrast"]) {
  $(id).addEventListener("input", () => step.light($("brightness").value, $("contrast").value));
  $(id).addEventListener("dblclick", () => { $(id).value = 100; step.light($("brightness").value, $("contrast").value); });
}
document.querySelector(".filters form").addEventListener("submit", (event) => {
  for (const input of event.target.elements) if (input.name && (!input.value || input.value === "value")) input.disabled = true; // shorter addresses
});
addEventListener("popstate", () => {
  const id = Number(location.pathname.split("/")[2]);
  if (id) { if (item?.data.state === "review" && item.id !== id) queue.unshift(item.id); show(id, { push: false, fresh: true }); } else next();
});

outbox.dispatchEvent(new Event("change"));
outbox.flush();
const first = Number(desk.dataset.sighting);
if (first) { await show(first, { push: false }); refill().then(ahead).catch(() => {}); } else await next();
if (!mayAnswer) toast("You may look; answering needs the role reviewer.");
