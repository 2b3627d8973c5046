// A job as it goes on: the server tells whenever something changed.

import { api, ask, complain, el, who } from "/static/app.js";

const $ = (id) => document.getElementById(id);
const id = $("job").dataset.job;
const WORDS = { todo: "waits", doing: "at work", succeeded: "done", failed: "failed", cancelled: "stopped", aborted: "stopped" };
const KIND = { succeeded: "good", failed: "bad", doing: "warn" };
const PAGE = 100, SENT = /^.*\/uploads\/[0-9a-f-]{36}\//; // where the server keeps what was sent
const number = (value) => value.toLocaleString("en");

function stages(job) {
  const running = job.status === "doing";
  $("stages").replaceChildren(...job.stages.filter(({ total }, i) => total !== 0 || i === job.stages.length - 1).map(({ stage, done, total }, i, all) => {
    const last = i === all.length - 1, bar = el("progress", { max: total || 1, "aria-label": stage });
    if (!(last && running && total === null)) bar.value = last && running ? done : total || 1;
    const far = total === null ? (last && running ? "…" : "done") : last && job.status !== "succeeded" ? `${number(done)} of ${number(total)}` : number(total);
    return el("li", {}, el("span", {}, stage), el("span", { class: "number muted" }, far), bar);
  }));
}

function report(job) {
  const r = job.report;
  $("report").hidden = !r;
  if (!r) return;
  const facts = [["photos_new", "photos read now"], ["photos_known", "known before"], ["duplicates", "duplicates"], ["unreadable", "unreadable"],
    ["without_detections", "not looked at by a detector"], ["detections", "animals detected"], ["encounters", "encounters"], ["matched", "matched to known individuals"],
    ["new", "new individuals"], ["review", "wait for you"], ["embedded", "animals embedded"]];
  $("numbers").replaceChildren(...facts.filter(([key]) => r[key] || ["photos_new", "new", "review"].includes(key) && key in r)
    .map(([key, words]) => el("li", {}, el("b", {}, number(r[key])), words)));
  const seconds = Object.values(r.seconds ?? {}).reduce((sum, s) => sum + s, 0);
  $("next").replaceChildren(
    r.review ? el("a", { class: "button primary", href: "/review" }, `Review ${number(r.review)}`) : "",
    el("a", { class: "button", href: "/individuals" }, "Individuals"),
    el("span", { class: "muted" }, `It took ${seconds < 90 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(1)} min`}.`));
}

let shown = 0;
async function problems() {
  const { data } = await api("GET", `/api/v1/jobs/${id}/problems?limit=${PAGE}&offset=${shown}`);
  $("rows").append(...data.items.map(({ path, reason }) => el("tr", {}, el("td", { title: path }, path.replace(SENT, "")), el("td", {}, reason))));
  shown += data.items.length;
  $("problems").hidden = !data.total;
  $("more").hidden = shown >= data.total;
  $("more").textContent = `Show more (${number(data.total - shown)})`;
}

function show(job) {
  $("state").textContent = job.stopping ? "stopping …" : WORDS[job.status];
  $("state").className = `badge ${KIND[job.status] ?? ""}`;
  const ended = !["todo", "doing"].includes(job.status);
  $("waiting").hidden = job.status !== "todo";
  $("waiting").textContent = "It waits for a worker, or for another job that is at work. `deertrack serve` starts a worker of its own; `deertrack worker` is one.";
  if ($("stop")) { $("stop").hidden = ended || job.stopping; $("retry").hidden = !ended || job.status === "succeeded"; }
  stages(job);
  report(job);
  $("error").hidden = !["failed", "aborted"].includes(job.status);
  $("error").textContent = job.error ? [job.error, job.hint].filter(Boolean).join(" – ") : "It ended without a word; the worker's log says more.";
  if (ended && job.problems && !shown) problems().catch(complain);
  document.title = `${$("state").textContent} · ${job.title || job.kind} · deertrack`;
  return ended;
}

function follow() {
  const source = new EventSource(`/api/v1/jobs/${id}/events`);
  // When the line breaks, the browser connects again by itself.
  source.addEventListener("job", (event) => { if (show(JSON.parse(event.data))) source.close(); });
}

$("more").addEventListener("click", () => problems().catch(complain));
$("stop")?.addEventListener("click", async () => {
  if (!await ask("Stop this job?", { body: el("p", {}, "What it has done is kept. Do it again to go on from there."), yes: "Stop", danger: true })) return;
  try { show((await api("POST", `/api/v1/jobs/${id}/stop`)).data); } catch (error) { complain(error); }
});
$("retry")?.addEventListener("click", async () => {
  try { location.assign(`/jobs/${(await api("POST", `/api/v1/jobs/${id}/retry`)).data.job}`); } catch (error) { complain(error); }
});
if (who.role) follow();
