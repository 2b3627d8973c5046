// One individual: describing it, retiring it, saying who it is, and moving sightings that are somebody else's.

import { api, ask, complain, el, individualField, toast, toastNext } from "./app.js";
import { compare } from "./merging.js";
import "./history.js";

const page = document.getElementById("deer");
const { number, name, revision } = page.dataset;
const self = { number: Number(number), name, detection_id: Number(page.dataset.detection) || null, sightings: Number(page.dataset.sightings) };
const on = (id, act) => document.getElementById(id)?.addEventListener("click", act);

async function change(body, says) {
  try {
    const { data } = await api("PATCH", `/api/v1/individuals/${number}`, { body, etag: `"${revision}"` });
    toastNext(says, data.edit);
    location.reload();
  } catch (error) {
    if (error.status !== 412) { complain(error); return; }
    const now = error.problem.current ?? {};
    const rows = Object.entries(now).filter(([field, value]) => field in body && String(value) !== String(body[field]))
      .map(([field, value]) => el("tr", {}, el("th", { scope: "row" }, field.replace("_", " ")), el("td", {}, String(value ?? "")), el("td", {}, String(body[field] ?? ""))));
    const table = el("div", { class: "scroll" }, el("table", { class: "table" }, el("thead", {}, el("tr", {}, el("th"), el("th", { scope: "col" }, "now"), el("th", { scope: "col" }, "yours"))), el("tbody", {}, rows)));
    if (await ask("Somebody else changed this meanwhile", { body: [el("p", {}, "Nothing of yours was recorded."), table], yes: "Show how it is now", no: "Stay here" })) location.reload();
  }
}

on("describe", async () => {
  const form = document.getElementById("form").content.cloneNode(true).firstElementChild;
  const fields = [...form.querySelectorAll("[name]")];
  const before = Object.fromEntries(fields.map((field) => [field.name, field.value]));
  const name = form.querySelector("[name=name]");
  const sure = await ask("What is known", { body: form, yes: "Save", ready: (button) => name.addEventListener("input", () => { button.disabled = !name.value.trim(); }) });
  const given = Object.fromEntries(fields.filter((field) => field.value !== before[field.name]).map((field) => [field.name, field.value]));
  if (!sure || !Object.keys(given).length) return;
  if ("aliases" in given) given.aliases = given.aliases.split(",").map((alias) => alias.trim()).filter(Boolean);
  if (given.sex === "") given.sex = null; // as the photos show
  await change(given, "Saved");
});

on("retire", async (event) => {
  const { status } = event.currentTarget.dataset;
  const text = status === "retired" ? "The machine will take no new sighting for this animal. Its sightings stay." : "The machine will know this animal again.";
  if (await ask(status === "retired" ? `Retire ${name}?` : `Is ${name} back?`, { body: el("p", {}, text), yes: status === "retired" ? "Retire" : "Is back" })) {
    await change({ status }, status === "retired" ? `${name} is retired` : `${name} is back`);
  }
});

on("merge", async () => {
  const field = individualField("Who is it?");
  const sure = await ask(`${name} is another animal`, { body: field.node, yes: "Compare …", ready: (button) => {
    button.disabled = true;
    for (const event of ["input", "change"]) field.input.addEventListener(event, () => { button.disabled = !field.number() || field.number() === self.number; });
  } });
  if (!sure) return;
  try {
    const { data } = await api("GET", `/api/v1/individuals/${field.number()}`);
    compare(self, { number: data.number, name: data.name, detection_id: data.profile_detection_id, sightings: data.sighting_count });
  } catch (error) { complain(error); }
});

// ---- sightings that are somebody else's

const list = document.getElementById("list"), bar = document.getElementById("selection");
const address = new URL(location.href);
const chosen = new Set((address.searchParams.get("select") ?? "").split(",").map(Number).filter(Boolean));

function selection() {
  for (const box of list?.querySelectorAll("input[type=checkbox]") ?? []) box.checked = chosen.has(Number(box.value));
  if (!bar) return;
  bar.hidden = !chosen.size;
  document.getElementById("selected").textContent = `${chosen.size} ${chosen.size === 1 ? "sighting" : "sightings"} selected`;
  // The selection goes along from page to page of the list.
  chosen.size ? address.searchParams.set("select", [...chosen].join(",")) : address.searchParams.delete("select");
  history.replaceState({}, "", address);
  for (const link of document.querySelectorAll(".pages a")) {
    const to = new URL(link.href);
    chosen.size ? to.searchParams.set("select", [...chosen].join(",")) : to.searchParams.delete("select");
    to.hash = "sightings";
    link.href = to;
  }
}
list?.addEventListener("change", ({ target }) => { chosen[target.checked ? "add" : "delete"](Number(target.value)); selection(); });
on("clear", () => { chosen.clear(); selection(); });
selection();

/** Ask where to, show what that means, and do it. `field`: who the sightings are; null: somebody new. */
async function move(field) {
  const sightings = [...chosen];
  const named = el("input", { maxlength: 80, autocomplete: "off", placeholder: "a friendly name is made up" });
  const preview = el("div", { class: "notice", role: "status" }, "…");
  let expected = null, asked = 0, looked = "";
  const body = () => ({ sightings, to: field ? field.number() : null, ...(field || !named.value.trim() ? {} : { name: named.value.trim() }) });
  const sure = await ask(`${sightings.length === 1 ? "This sighting is" : `These ${sightings.length} sightings are`} ${field ? "somebody else" : "a new individual"}`, {
    body: [field ? field.node : el("label", { class: "field" }, el("span", {}, "Name"), named), preview], yes: "Move",
    ready: (button) => {
      const look = async () => {
        const order = JSON.stringify(body());
        if (order === looked) return; // the field only lost its focus, to this dialog's button maybe
        looked = order;
        const mine = ++asked;
        button.disabled = true;
        if (field && !field.number()) { preview.textContent = "Nothing moves before you have seen what it means."; return; }
        try {
          const { data } = await api("POST", "/api/v1/moves", { body: { ...body(), dry_run: true } });
          if (mine !== asked) return;
          expected = data.expected;
          preview.className = data.warnings.length ? "notice warn" : "notice";
          preview.replaceChildren(el("p", {}, `${data.sightings} ${data.sightings === 1 ? "sighting goes" : "sightings go"} to ${data.to ? data.to.name : "a new individual"}.`),
            ...data.left.map((left) => el("p", {}, `${left.name} keeps ${left.remaining}.`)), ...data.warnings.map((text) => el("p", {}, text)));
          button.disabled = false;
        } catch (error) { if (mine === asked) { preview.className = "notice bad"; preview.textContent = error.message; } }
      };
      for (const event of ["input", "change"]) (field ? field.input : named).addEventListener(event, look);
      look();
    },
  });
  if (!sure) return;
  try {
    const { data } = await api("POST", "/api/v1/moves", { body: { ...body(), expected } });
    toastNext(`${data.sightings} moved to ${data.to.name}`, data.edit);
    chosen.clear();
    location.assign(`/individuals/${data.to.number}`);
  } catch (error) {
    error.status === 412 ? toast("Something changed meanwhile. Nothing was moved; try again.", { bad: true }) : complain(error);
  }
}
on("move", () => move(individualField("Who is it?")));
on("split", () => move(null));
