// Two pictures side by side that zoom and move in step, and the lines between spots that are alike.

const SVG = "http://www.w3.org/2000/svg";
const CLOSEST = 12;

/** Viewers that share one look: how near, where, how bright. `moved` is called after every change. */
export class Step {
  #viewers = [];
  scale = 1;
  x = 0; // by how much pictures are moved, in widths and heights of a viewer
  y = 0;

  constructor(moved) { this.moved = moved; }

  add(root, swiped) {
    const viewer = new Viewer(root, this, swiped);
    this.#viewers.push(viewer);
    return viewer;
  }

  /** Zoom by a factor about a point, in fractions of the viewer. */
  zoom(factor, px = .5, py = .5) {
    const scale = Math.min(Math.max(this.scale * factor, 1), CLOSEST);
    this.x = px - (px - this.x) * scale / this.scale;
    this.y = py - (py - this.y) * scale / this.scale;
    this.scale = scale;
    this.move(0, 0);
  }

  move(dx, dy) {
    const edge = 1 - this.scale;
    this.x = Math.min(Math.max(this.x + dx, edge), 0);
    this.y = Math.min(Math.max(this.y + dy, edge), 0);
    this.draw();
  }

  reset() { this.scale = 1; this.x = this.y = 0; this.draw(); }

  light(brightness, contrast) {
    for (const viewer of this.#viewers) viewer.img.style.filter = `brightness(${brightness}%) contrast(${contrast}%)`;
  }

  draw() {
    for (const viewer of this.#viewers) viewer.draw();
    this.moved();
  }
}

class Viewer {
  #fingers = new Map();
  #from = null;

  constructor(root, step, swiped) {
    this.root = root;
    this.step = step;
    this.img = root.querySelector("img");
    this.say = root.querySelector(".say");
    this.corner = root.querySelector(".corner");
    this.img.addEventListener("load", () => { this.tell(""); step.moved(); });
    this.img.addEventListener("error", () => { if (this.img.getAttribute("src")) this.tell("This photo cannot be shown: its file is gone or unreadable."); });
    root.addEventListener("wheel", (event) => {
      if (event.deltaY > 0 && step.scale === 1) return; // let the page scroll
      event.preventDefault();
      step.zoom(Math.exp(-event.deltaY / 300), ...this.#at(event));
    }, { passive: false });
    root.addEventListener("dblclick", (event) => (step.scale > 1 ? step.reset() : step.zoom(3, ...this.#at(event))));
    root.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      root.setPointerCapture(event.pointerId);
      this.#fingers.set(event.pointerId, this.#at(event));
      this.#from = { at: this.#at(event), touch: event.pointerType === "touch", alone: this.#fingers.size === 1 };
    });
    root.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      root.addEventListener(end, (event) => {
        const from = this.#from, [x, y] = this.#at(event);
        if (end === "pointerup" && from?.touch && from.alone && this.#fingers.size === 1 && step.scale === 1
          && Math.abs(x - from.at[0]) > .15 && Math.abs(x - from.at[0]) > Math.abs(y - from.at[1])) swiped(x < from.at[0] ? 1 : -1);
        this.#fingers.delete(event.pointerId);
      });
    }
  }

  /** Show a picture; `fine`: the same picture with more pixels, fetched once one looks closely. */
  show(src, alt, { fine = null, corner = "" } = {}) {
    this.coarse = src;
    this.fine = fine;
    this.img.alt = alt;
    this.corner.textContent = corner;
    this.corner.hidden = !corner;
    this.tell("");
    if (this.img.getAttribute("src") !== src) src ? this.img.setAttribute("src", src) : this.img.removeAttribute("src");
    this.draw();
  }

  tell(text) { this.say.textContent = text; this.say.hidden = !text; }

  draw() {
    const { scale, x, y } = this.step;
    const { clientWidth: width, clientHeight: height } = this.root;
    this.img.style.transform = scale === 1 ? "" : `translate(${x * width}px, ${y * height}px) scale(${scale})`;
    this.root.classList.toggle("close", scale > 1);
    if (scale > 1.6 && this.fine) {
      const fine = this.fine, coarse = this.coarse;
      this.fine = null;
      const loading = new Image();
      loading.onload = () => { if (this.coarse === coarse) this.img.src = fine; };
      loading.src = fine;
    }
  }

  /** Where the picture itself lies on the screen: {left, top, width, height}; null before it is loaded. */
  place() {
    if (!this.img.naturalWidth) return null;
    const box = this.img.getBoundingClientRect();
    const fit = Math.min(box.width / this.img.naturalWidth, box.height / this.img.naturalHeight);
    const width = this.img.naturalWidth * fit, height = this.img.naturalHeight * fit;
    return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height };
  }

  #at(event) {
    const box = this.root.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #drag(event) {
    const before = this.#fingers.get(event.pointerId);
    if (!before) return;
    const now = this.#at(event), others = [...this.#fingers].filter(([id]) => id !== event.pointerId);
    this.#fingers.set(event.pointerId, now);
    if (others.length) {
      const other = others[0][1];
      const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || .001;
      this.step.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else if (this.step.scale > 1) this.step.move(now[0] - before[0], now[1] - before[1]);
  }
}

/** Draws over both pictures: lines between pairs of spots, and a box. Coordinates are fractions of the pictures. */
export class Overlay {
  constructor() {
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "lines");
    this.svg.setAttribute("aria-hidden", "true");
    document.body.append(this.svg);
    this.pairs = [];
    this.box = null;
    for (const event of ["scroll", "resize"]) addEventListener(event, () => this.draw(), { passive: true });
  }

  draw(a = this.a, b = this.b) {
    this.a = a;
    this.b = b;
    const here = a?.place(), there = b?.place();
    const shapes = [];
    if (here && there) {
      for (const pair of this.pairs) {
        const [x1, y1] = spot(here, pair.a), [x2, y2] = spot(there, pair.b);
        if (!inside(a, x1, y1) || !inside(b, x2, y2)) continue;
        shapes.push(shape("line", { x1, y1, x2, y2 }), shape("circle", { cx: x1, cy: y1, r: 3 }), shape("circle", { cx: x2, cy: y2, r: 3 }));
      }
    }
    if (here && this.box) {
      const clip = a.root.getBoundingClientRect();
      const [x, y] = spot(here, [this.box.x, this.box.y]);
      const [right, bottom] = spot(here, [this.box.x + this.box.width, this.box.y + this.box.height]);
      const left = Math.max(x, clip.left), top = Math.max(y, clip.top);
      const width = Math.min(right, clip.right) - left, height = Math.min(bottom, clip.bottom) - top;
      if (width > 0 && height > 0) shapes.push(shape("rect", { x: left, y: top, width, height }));
    }
    this.svg.replaceChildren(...shapes);
  }
}

const spot = (place, [x, y]) => [place.left + x * place.width, place.top + y * place.height];

function inside(viewer, x, y) {
  const box = viewer.root.getBoundingClientRect();
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
