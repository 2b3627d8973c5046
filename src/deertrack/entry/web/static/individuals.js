// The gallery: filters that apply at once, two individuals beside each other, and what the machine suggests.

import { api, complain, el, percent, who } from "./app.js";
import { compare, portrait } from "./merging.js";

const filters = document.getElementById("filters");
for (const select of filters.querySelectorAll("select")) select.addEventListener("change", () => filters.requestSubmit());
filters.addEventListener("submit", () => {
  for (const input of filters.elements) if (input.name && (!input.value || input.value === "sightings" || input.value === "active")) input.disabled = true; // shorter addresses
});
addEventListener("pageshow", () => { for (const input of filters.elements) input.disabled = false; });

// ---- two of them

const gallery = document.getElementById("gallery"), bar = document.getElementById("selection");
const picked = () => [...(gallery?.querySelectorAll(".pick input:checked") ?? [])];
const about = ({ value, dataset }) => ({ number: Number(value), name: dataset.name, detection_id: Number(dataset.detection) || null, sightings: Number(dataset.sightings), sex: dataset.sex });

function selection() {
  const chosen = picked();
  bar.hidden = !chosen.length;
  document.getElementById("selected").textContent = chosen.length === 1 ? `${chosen[0].dataset.name}, and another one?` : chosen.map((input) => input.dataset.name).join(" and ");
  document.getElementById("compare").disabled = chosen.length !== 2;
}
gallery?.addEventListener("change", (event) => {
  const chosen = picked();
  if (chosen.length > 2) chosen.find((input) => input !== event.target).checked = false;
  selection();
});
document.getElementById("clear").addEventListener("click", () => { for (const input of picked()) input.checked = false; selection(); });
document.getElementById("compare").addEventListener("click", () => compare(...picked().map(about)));
selection();

// ---- suggestions

const place = document.getElementById("suggestions");

function merge({ a, b, probability }) {
  return el("li", { class: "card" }, el("div", { class: "pair" }, portrait(a), portrait(b)),
    el("p", {}, `One animal? ${percent(probability)}`),
    el("div", { class: "row" }, el("button", { type: "button", class: "button small primary", onclick: () => compare(a, b) }, "Compare …")));
}

function mixture({ individual, parts, probability }) {
  const less = parts.reduce((x, y) => (y.length < x.length ? y : x));
  return el("li", { class: "card" }, el("div", { class: "row" }, portrait(individual)),
    el("p", {}, `Several animals? ${probability === null || probability === undefined ? "" : percent(probability)} (${parts.map((part) => part.length).join(" and ")} sightings)`),
    el("a", { class: "button small", href: `/individuals/${individual.number}?select=${less.join(",")}#sightings` }, "Look at them …"));
}

if (who.role >= 2) {
  api("GET", "/api/v1/suggestions").then(({ data }) => {
    const { merges, mixtures } = data;
    if (!merges.length && !mixtures.length) return;
    const said = [merges.length ? `${merges.length} ${merges.length === 1 ? "pair" : "pairs"} that may be one animal` : "", mixtures.length ? `${mixtures.length} that may be several` : ""];
    place.replaceChildren(el("details", { class: "notice" }, el("summary", {}, el("b", {}, "Suggestions: "), said.filter(Boolean).join(", ")),
      el("ul", { class: "cards gap" }, merges.slice(0, 24).map(merge), mixtures.slice(0, 24).map(mixture))));
    place.hidden = false;
  }).catch(complain);
}
