// The boxes of a photo: moved and drawn by mouse, touch and keyboard; told what they show; rejected and restored.

import { api, complain, el, keys, keysAreFree, percent, toast, undoAndReload, who } from "/static/app.js";

const plate = document.getElementById("plate"), list = document.getElementById("boxes"), hint = document.getElementById("hint");
const draw = document.getElementById("draw"), save = document.getElementById("save"), reset = document.getElementById("reset");
const image = plate.dataset.image, mayEdit = Boolean(draw);
const LEAST = .01, STEP = .005; // of the photo's width and height
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// The whole photo is seen at once, and a small one is shown large.
plate.style.maxWidth = `${Math.round(78 * plate.dataset.width / plate.dataset.height)}vh`;

let boxes = []; // as the server has them
let active = null; // {id or null for a new one, box, node}: moved, not saved

const label = (box) => box.rejected ? "no animal" : box.individual?.name ?? { review: "to review", unidentifiable: "cannot be told" }[box.state] ?? "not looked at yet";

function place(node, { x, y, width, height }) {
  Object.assign(node.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` });
  node.classList.toggle("low", y < .05);
}

function frame(box, i) {
  const node = el("div", { class: `box${box.rejected ? " rejected" : ""}${mayEdit ? "" : " fixed"}`, tabindex: 0, role: "group", "data-id": box.id,
    "aria-roledescription": "box", "aria-label": `Box ${i + 1}: ${label(box)}${mayEdit && !box.rejected ? ". Arrows move it, Shift and arrows resize it." : ""}` },
    el("span", { class: "tag" }, label(box)), ["nw", "ne", "sw", "se"].map((corner) => el("i", { class: corner, "data-corner": corner })));
  place(node, box.box);
  return node;
}

function card(box, i) {
  const select = (name, values, current) => {
    const made = el("select", { disabled: !mayEdit || box.rejected }, values.map((value) => el("option", { value, selected: value === current }, value)));
    made.addEventListener("change", () => change("PATCH", `/api/v1/detections/${box.id}`, { [name]: made.value }, `The ${name} is ${made.value}.`));
    return el("label", { class: "field" }, el("span", {}, name === "sex" ? "Sex" : "Flank seen"), made);
  };
  const told = box.drawn_by ? `drawn by ${box.drawn_by}` : `detector: ${percent(box.confidence)}`;
  return el("li", { class: `card stack${box.rejected ? " rejected" : ""}` },
    el("h3", {}, `${i + 1}. `, box.individual ? el("a", { href: `/individuals/${box.individual.number}` }, box.individual.name) : label(box)),
    el("p", { class: "muted small" }, told, box.sighting_id ? [", ", el("a", { href: `/review/${box.sighting_id}` }, `sighting ${box.sighting_id}`)] : ""),
    el("div", { class: "row" }, select("sex", ["unknown", "male", "female"], box.sex), select("flank", ["unknown", "left", "right"], box.flank)),
    mayEdit ? el("div", { class: "row" },
      box.rejected
        ? el("button", { class: "button small", type: "button", onclick: () => change("POST", `/api/v1/detections/${box.id}/restore`, undefined, "It is an animal after all.") }, "It is an animal")
        : [el("button", { class: "button small", type: "button", onclick: () => plate.querySelector(`[data-id="${box.id}"]`).focus() }, "Move it"),
          el("button", { class: "button small danger", type: "button", onclick: () => change("POST", `/api/v1/detections/${box.id}/reject`, undefined, "It is no animal.") }, "No animal")]) : null);
}

function render() {
  for (const node of plate.querySelectorAll(".box")) node.remove();
  plate.append(...boxes.map(frame));
  list.replaceChildren(...boxes.map(card));
  document.getElementById("none").hidden = boxes.length > 0;
  settle(null);
}

async function load() {
  boxes = (await api("GET", `/api/v1/photos/${image}/detections`)).data.detections;
  render();
}

/** Ask for a change, tell it with an undo, show what there is now. */
async function change(method, path, body, text) {
  try {
    const { data } = await api(method, path, { body });
    await load();
    if (!data.edit) return;
    toast(data.job ? `${text} The machine looks at it now.` : text, {
      undo: () => undoAndReload(data.edit, { preview: false }),
      link: data.job ? { href: `/jobs/${data.job}`, text: "Job" } : undefined,
    });
  } catch (error) { complain(error); await load().catch(complain); }
}

// ---- a box that is being moved or drawn

function settle(now) {
  active = now;
  if (!mayEdit) return;
  save.hidden = reset.hidden = !now;
  hint.textContent = now ? (now.id ? "The box is moved, not saved yet." : "The new box is not saved yet.") : "";
  for (const node of plate.querySelectorAll(".changed")) if (node !== now?.node) node.classList.remove("changed");
  now?.node.classList.add("changed");
}

function hold(node) {
  if (active?.node === node) return active;
  if (active) revert();
  const box = boxes.find((one) => String(one.id) === node.dataset.id);
  return box && !box.rejected && mayEdit ? { id: box.id, box: { ...box.box }, node } : null;
}

function put(held, box) {
  const width = clamp(box.width, LEAST, 1), height = clamp(box.height, LEAST, 1);
  held.box = { x: clamp(box.x, 0, 1 - width), y: clamp(box.y, 0, 1 - height), width, height };
  place(held.node, held.box);
  settle(held);
}

function revert() {
  const held = active;
  if (!held) return;
  if (held.id) place(held.node, boxes.find((box) => box.id === held.id).box); else held.node.remove();
  settle(null);
}

async function keep() {
  const held = active;
  if (!held) return;
  if (held.id) await change("PUT", `/api/v1/detections/${held.id}/box`, held.box, "The box is mended.");
  else await change("POST", `/api/v1/photos/${image}/detections`, { box: held.box }, "The box is added.");
}

function fresh(box) {
  revert();
  const node = el("div", { class: "box", tabindex: 0, role: "group", "aria-roledescription": "box", "aria-label": "New box. Arrows move it, Shift and arrows resize it, Enter saves it." },
    el("span", { class: "tag" }, "new"), ["nw", "ne", "sw", "se"].map((corner) => el("i", { class: corner, "data-corner": corner })));
  plate.append(node);
  put({ id: null, node, box }, box);
  return active;
}

const at = (event) => {
  const area = plate.getBoundingClientRect();
  return { x: clamp((event.clientX - area.left) / area.width, 0, 1), y: clamp((event.clientY - area.top) / area.height, 0, 1) };
};

plate.addEventListener("pointerdown", (event) => {
  if (!mayEdit || event.button) return;
  const start = at(event), node = event.target.closest(".box");
  const drawn = plate.classList.contains("drawing");
  let held, corner = event.target.dataset.corner;
  if (drawn) {
    held = fresh({ ...start, width: LEAST, height: LEAST });
    corner = "se";
    drawing(false);
  } else if (node) held = hold(node);
  if (!held) return;
  event.preventDefault();
  held.node.focus();
  plate.setPointerCapture(event.pointerId);
  const was = drawn ? { ...start, width: 0, height: 0 } : { ...held.box };
  let moved = drawn;
  const follow = (moving) => {
    const now = at(moving), dx = now.x - start.x, dy = now.y - start.y;
    if (!moved && Math.hypot(dx * plate.clientWidth, dy * plate.clientHeight) < 3) return; // a tap moves nothing
    moved = true;
    if (!corner) return put(held, { ...was, x: was.x + dx, y: was.y + dy });
    const fixed = { x: corner.includes("w") ? was.x + was.width : was.x, y: corner.includes("n") ? was.y + was.height : was.y };
    const free = { x: (corner.includes("w") ? was.x : was.x + was.width) + dx, y: (corner.includes("n") ? was.y : was.y + was.height) + dy };
    const a = { x: clamp(Math.min(fixed.x, free.x), 0, 1), y: clamp(Math.min(fixed.y, free.y), 0, 1) };
    const b = { x: clamp(Math.max(fixed.x, free.x), 0, 1), y: clamp(Math.max(fixed.y, free.y), 0, 1) };
    put(held, { ...a, width: b.x - a.x, height: b.y - a.y });
  };
  const end = () => { plate.removeEventListener("pointermove", follow); plate.removeEventListener("pointerup", end); plate.removeEventListener("pointercancel", end); };
  plate.addEventListener("pointermove", follow);
  plate.addEventListener("pointerup", end);
  plate.addEventListener("pointercancel", end);
});

plate.addEventListener("keydown", (event) => {
  const node = event.target.closest(".box"), by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!node || !by || !mayEdit || event.ctrlKey || event.metaKey || event.altKey) return;
  const held = hold(node);
  if (!held) return;
  event.preventDefault();
  const [dx, dy] = by.map((step) => step * STEP), { x, y, width, height } = held.box;
  put(held, event.shiftKey ? { x, y, width: Math.min(width + dx, 1 - x), height: Math.min(height + dy, 1 - y) } : { x: x + dx, y: y + dy, width, height });
});

function drawing(on) {
  plate.classList.toggle("drawing", on);
  draw.setAttribute("aria-pressed", on);
  hint.textContent = on ? "Draw it with the mouse or a finger, or press A again for a box to move by keys." : "";
}

if (mayEdit) {
  draw.addEventListener("click", (event) => {
    // By key there is nothing to draw with: a box in the middle, to be moved.
    if (event.detail === 0 || plate.classList.contains("drawing")) { drawing(false); fresh({ x: .4, y: .4, width: .2, height: .2 }).node.focus(); } else drawing(true);
  });
  save.addEventListener("click", keep);
  reset.addEventListener("click", revert);
  document.addEventListener("keydown", (event) => {
    if (!keysAreFree(event) || event.ctrlKey || event.metaKey) return;
    if (event.key.toLowerCase() === "a") draw.click();
    else if (event.key === "Enter" && active && !event.target.closest("button, a")) keep();
    else if (event.key === "Escape") { revert(); drawing(false); }
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", (event) => { if (active) event.preventDefault(); });
  keys([["A", "add a box"], ["Arrows", "move the box in focus"], ["Shift + arrows", "make it larger or smaller"], ["Enter", "save it"], ["Esc", "leave it as it was"]]);
}
if (who.role) load().catch(complain);
