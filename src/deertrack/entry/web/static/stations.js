// Stations: their zone and place, and clocks that were set wrongly.

import { api, ask, complain, el, toastNext, when } from "/static/app.js";

const field = (label, input, help) => el("label", { class: "field" }, el("span", {}, label), input, help ? el("span", { class: "muted" }, help) : null);

async function edit(id) {
  const { data: station, etag } = await api("GET", `/api/v1/stations/${id}`);
  const zone = el("input", { list: "zones", value: station.timezone, required: true, autofocus: true, autocomplete: "off", spellcheck: "false" });
  const number = (value, most) => el("input", { type: "number", step: "any", min: -most, max: most, value: value ?? "", inputmode: "decimal" });
  const latitude = number(station.latitude, 90), longitude = number(station.longitude, 180);
  const done = await ask(station.name, {
    yes: "Save", body: el("div", { class: "stack" }, field("Time zone of the camera's clock", zone, `A new zone moves the times of all ${station.photos.toLocaleString("en")} photos.`),
      field("Latitude, degrees (north is positive)", latitude), field("Longitude, degrees (east is positive)", longitude)),
  });
  if (!done) return;
  const degrees = (input) => input.value === "" ? null : Number(input.value);
  await api("PATCH", `/api/v1/stations/${id}`, { body: { timezone: zone.value.trim(), latitude: degrees(latitude), longitude: degrees(longitude) }, etag });
  toastNext(`${station.name} is changed.`);
  location.reload();
}

async function shift(id) {
  const { data: station, etag } = await api("GET", `/api/v1/stations/${id}`);
  const by = el("input", { required: true, autofocus: true, placeholder: "+1h", autocomplete: "off" });
  const preview = el("p", { role: "status" }, "For example +1h, -00:07:30 or +2d.");
  let timer, confirm;
  const look = async () => {
    confirm.disabled = true;
    if (!by.value.trim()) return;
    try {
      const { data } = await api("POST", `/api/v1/stations/${id}/shift`, { body: { by: by.value, dry_run: true } });
      const times = (row) => `${when(row.first_photo, row.timezone)} to ${when(row.last_photo, row.timezone)}`;
      preview.replaceChildren(`${station.photos.toLocaleString("en")} photos`, el("br"), `now: ${times(data.before)}`, el("br"), el("b", {}, `then: ${times(data.after)}`));
      confirm.disabled = false;
    } catch (error) { preview.textContent = error.message; }
  };
  by.addEventListener("input", () => { confirm.disabled = true; clearTimeout(timer); timer = setTimeout(look, 300); });
  const done = await ask(`Clock of ${station.name}`, {
    yes: "Move all times", ready: (button) => { confirm = button; confirm.disabled = true; },
    body: el("div", { class: "stack" }, field("Move the clock by", by), preview,
      el("p", { class: "muted" }, "Photos that come later are moved too. The opposite shift takes it back.")),
  });
  if (!done) return;
  await api("POST", `/api/v1/stations/${id}/shift`, { body: { by: by.value }, etag });
  toastNext(`The clock of ${station.name} is moved.`);
  location.reload();
}

document.getElementById("stations")?.addEventListener("click", (event) => {
  const { edit: edited, shift: shifted } = event.target.closest("button")?.dataset ?? {};
  if (edited) edit(edited).catch(complain);
  if (shifted) shift(shifted).catch(complain);
});
