// A drawing: a canvas for its axes, one for all lines, and one over both for what stands out, so that a pointer that moves
// redraws little, and lines can fade behind it.

class Chart {
  constructor(host, { label, height, left = 64, right = 16, top = 12, bottom = 44 }) {
    this.host = host;
    this.height = height;
    this.margin = { left, right, top, bottom };
    [this.under, this.base, this.over] = [0, 1, 2].map(() => document.createElement("canvas"));
    host.append(this.under, this.base, this.over);
    host.classList.add("chart");
    host.style.height = `${height}px`;
    for (const [name, value] of Object.entries({ tabindex: "0", role: "img", "aria-label": label })) host.setAttribute(name, value);
    new ResizeObserver(() => host.clientWidth !== this.width && changed()).observe(host);
  }

  /** A canvas, empty, at the screen's own pixels. */
  clear(canvas) {
    this.width = this.host.clientWidth;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.lineJoin = pen.lineCap = "round";
    pen.font = "12px system-ui, sans-serif";
    return pen;
  }

  x(share) {
    return this.margin.left + share * (this.width - this.margin.left - this.margin.right);
  }

  y(share) {
    return this.height - this.margin.bottom - share * (this.height - this.margin.top - this.margin.bottom);
  }

  /** Grid, ticks and names of both axes. */
  axes(across, up, acrossName, upName) {
    const pen = this.clear(this.under);
    const [line, quiet] = [named("line"), named("quiet")];
    const edges = [this.x(0), this.x(1), this.y(0), this.y(1)];
    pen.lineWidth = 1;
    pen.strokeStyle = line;
    pen.fillStyle = quiet;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of up.ticks(Math.floor((this.height - 60) / 45))) {
      const y = Math.round(this.y(up.share(tick))) + 0.5;
      stroke(pen, [[edges[0], y], [edges[1], y]]);
      pen.fillText(ticked(tick, up.unit), edges[0] - 8, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    let free = -Infinity;
    for (const tick of across.ticks(Math.floor(this.width / 95))) {
      const x = Math.round(this.x(across.share(tick))) + 0.5;
      stroke(pen, [[x, edges[2]], [x, edges[2] + 5]]);
      const text = ticked(tick, across.unit);
      const half = pen.measureText(text).width / 2;
      if (x - half < free) continue;
      pen.fillText(text, Math.min(x, this.width - half - 2), edges[2] + 8);
      free = x + half + 8;
    }
    pen.strokeStyle = named("axis");
    stroke(pen, [[edges[0], edges[2] + 0.5], [edges[1], edges[2] + 0.5]]);
    pen.fillText(acrossName, (edges[0] + edges[1]) / 2, edges[2] + 25);
    pen.save();
    pen.translate(13, (edges[2] + edges[3]) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "middle";
    pen.fillText(upName, 0, 0);
    pen.restore();
  }

  /** What is said in place of a drawing. */
  empty(text) {
    const pen = this.clear(this.under);
    pen.fillStyle = named("quiet");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(text, this.width / 2, this.height / 2);
  }

  /** Calls back with the pointer's place in the drawing, and with `null` when it leaves. */
  onPointer(move) {
    this.host.addEventListener("pointermove", (event) => {
      const box = this.host.getBoundingClientRect();
      move({ x: event.clientX - box.left, y: event.clientY - box.top }, event);
    });
    this.host.addEventListener("pointerleave", () => move(null));
  }
}

function stroke(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

function dot(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

/** A dot with a rim of the ground, which stands out from others. */
function rimmedDot(pen, x, y, radius, colour) {
  pen.fillStyle = named("card");
  dot(pen, x, y, radius + 2);
  pen.fillStyle = colour;
  dot(pen, x, y, radius);
}

/** How strong one of many lines is, so that many do not make one dark field. */
const strength = (count) => Math.min(0.95, Math.max(0.28, 7 / Math.sqrt(count + 1)));

/** Moves through the shown rows by the arrow keys. */
function step(direction) {
  if (!state.rows.length) return null;
  const at = state.rows.indexOf(state.hovered);
  const next = state.rows[(at < 0 ? (direction > 0 ? 0 : -1) : at + direction + state.rows.length) % state.rows.length] ?? state.rows.at(-1);
  hover(next);
  return next;
}
