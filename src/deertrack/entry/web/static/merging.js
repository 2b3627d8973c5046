// Two individuals beside each other: one animal, or two?

import { api, ask, complain, crop, el, toast, toastNext } from "./app.js";

/** An individual {number, name, detection_id} with its picture. */
export function portrait({ number, name, detection_id: detection }, side = 320) {
  return el("figure", {}, el("span", { class: "photo" }, detection ? el("img", { src: crop(detection, side), alt: `Photo of ${name}`, loading: "lazy" }) : null),
    el("figcaption", {}, el("a", { href: `/individuals/${number}` }, name), el("span", { class: "muted" }, ` No. ${number}`)));
}

/**
 * Show two individuals; merge them if the user says so. Who has more sightings, else who is known longer, keeps the name.
 * `after`(text, edit, kept) goes on from there; without it, the page of whoever is kept comes next.
 */
export async function compare(one, other, after = (text, edit, kept) => { toastNext(text, edit); kept ? location.assign(`/individuals/${kept.number}`) : location.reload(); }) {
  const more = (other.sightings ?? 0) - (one.sightings ?? 0) || one.number - other.number;
  let [kept, gone] = more > 0 ? [other, one] : [one, other];
  const preview = el("div", { class: "notice", role: "status" }, "…");
  let expected = null, confirm = null, asked = 0;

  const look = async () => {
    const mine = ++asked;
    confirm.disabled = true;
    try {
      const { data } = await api("POST", "/api/v1/merges", { body: { from: gone.number, into: kept.number, dry_run: true } });
      if (mine !== asked) return;
      expected = data.expected;
      preview.className = data.warnings.length ? "notice warn" : "notice";
      preview.replaceChildren(el("p", {}, `${data.sightings} ${data.sightings === 1 ? "sighting" : "sightings"} of ${gone.name} will be ${kept.name}’s.`), ...data.warnings.map((text) => el("p", {}, text)));
      confirm.textContent = `One animal: ${kept.name}`;
      confirm.disabled = false;
    } catch (error) {
      preview.className = "notice bad";
      preview.replaceChildren(error.message);
    }
  };
  const choice = (individual) => el("label", { class: "check" }, el("input", { type: "radio", name: "kept", checked: individual === kept, onchange: () => { [kept, gone] = individual === one ? [one, other] : [other, one]; look(); } }), `keep the name ${individual.name}`);
  const apart = el("button", { class: "button", type: "button", onclick: async (event) => {
    const dialog = event.target.closest("dialog");
    try {
      const { data } = await api("POST", "/api/v1/apart", { body: { one: one.number, other: other.number } });
      dialog.close("no");
      after(`${one.name} and ${other.name} are two animals`, data.edit, null);
    } catch (error) { complain(error); }
  } }, "They are two");

  const sure = await ask("One animal, or two?", {
    wide: true, yes: "One animal",
    body: [el("div", { class: "pair" }, portrait(one, 900), portrait(other, 900)), el("div", { class: "row" }, choice(one), choice(other), apart), preview],
    ready: (button) => { confirm = button; look(); },
  });
  if (!sure) return;
  try {
    const { data } = await api("POST", "/api/v1/merges", { body: { from: gone.number, into: kept.number, expected } });
    after(`${gone.name} is ${kept.name}`, data.edit, kept);
  } catch (error) {
    if (error.status === 412) toast("Something changed meanwhile. Look again.", { bad: true });
    else complain(error);
    if (error.status === 412) compare(one, other, after);
  }
}
