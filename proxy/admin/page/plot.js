// Plots of the last minutes, drawn as SVG. The right edge is now; what was not measured leaves a gap.

import { make, makeSvg, setAttribute, setText } from "./dom.js";

const HEIGHT = 84;
const TOP = 14;
const BOTTOM = 15;

// How many points the width stands for: few at first, so that the first minute does not vanish in five.
function spanOf(points, pointsMax) {
  return [pointsMax / 5, (pointsMax * 2) / 5].find((span) => span >= points) ?? pointsMax;
}

// The next number above with one or two figures that reads well.
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value * 0.999);
  return step * power;
}

function pathOf(values, x, y) {
  let path = "";
  let drawing = false;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      drawing = false;
      return;
    }
    path += `${drawing ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    drawing = true;
  });
  return path;
}

function areaOf(values, x, y, floor) {
  const first = values.findIndex((value) => value !== null && value !== undefined);
  if (first < 0) return "";
  const known = values.map((value) => value ?? 0).slice(first);
  const line = pathOf(known, (index) => x(index + first), y);
  return `${line}L${x(values.length - 1).toFixed(1)} ${floor}L${x(first).toFixed(1)} ${floor}Z`;
}

export class Plot {
  // series: [{ name, kind }], the first drawn as an area; format writes a value.
  constructor(figure, series, format, leastCeiling) {
    this.figure = figure;
    this.series = series;
    this.format = format;
    this.leastCeiling = leastCeiling;
    this.svg = figure.querySelector("svg");
    this.caption = figure.querySelector("figcaption");
    this.at = null;
    this.columns = [];
    this.ages = [];
    this.grid = makeSvg("path", { class: "grid" });
    this.area = makeSvg("path", { class: `area ${series[0].kind}` });
    this.lines = series.map((each) => makeSvg("path", { class: `line ${each.kind}` }));
    this.cursor = makeSvg("path", { class: "cursor" });
    this.highest = makeSvg("text", { class: "scale", x: 0, y: TOP - 4 });
    this.from = makeSvg("text", { class: "scale", x: 0 });
    this.until = makeSvg("text", { class: "scale end" });
    this.svg.append(this.grid, this.area, ...[...this.lines].reverse(), this.cursor, this.highest, this.from, this.until);
    this.until.textContent = "now";
    this.legend = series.map((each) => {
      const entry = make("span", `entry ${each.kind}`);
      entry.append(make("i"), make("span", "", each.label));
      return entry;
    });
    this.readout = make("span", "readout");
    this.readout.setAttribute("aria-live", "polite");
    this.caption.append(...this.legend, this.readout);
    figure.addEventListener("pointermove", (event) => this.#point(event));
    figure.addEventListener("pointerleave", () => this.#look(null));
    figure.addEventListener("blur", () => this.#look(null));
    figure.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  update(columns, ages, pointsMax, summary) {
    this.columns = columns;
    this.ages = ages;
    this.pointsMax = pointsMax;
    setAttribute(this.figure, "aria-label", summary);
    this.draw();
  }

  draw() {
    const width = this.figure.clientWidth;
    if (!width || !this.columns.length) return;
    const floor = HEIGHT - BOTTOM;
    const length = this.columns[0].length;
    this.span = spanOf(length, this.pointsMax);
    const step = width / (this.span - 1);
    this.x = (index) => width - (length - 1 - index) * step;
    const most = Math.max(this.leastCeiling, ...this.columns.flat().map((value) => value ?? 0));
    const ceiling = niceCeiling(most);
    this.svg.classList.toggle("flat", this.columns.flat().every((value) => !value));
    const y = (value) => floor - (value / ceiling) * (floor - TOP);
    setAttribute(this.svg, "viewBox", `0 0 ${width} ${HEIGHT}`);
    setAttribute(this.svg, "height", HEIGHT);
    setAttribute(this.svg, "width", width);
    const middle = (TOP + floor) / 2;
    setAttribute(this.grid, "d", `M0 ${TOP}H${width}M0 ${middle}H${width}M0 ${floor}H${width}`);
    setAttribute(this.area, "d", areaOf(this.columns[0], this.x, y, floor));
    this.lines.forEach((line, index) => setAttribute(line, "d", pathOf(this.columns[index], this.x, y)));
    setText(this.highest, this.format(ceiling));
    setAttribute(this.from, "y", HEIGHT - 3);
    setAttribute(this.until, "y", HEIGHT - 3);
    setAttribute(this.until, "x", width);
    const seconds = Math.round(this.span * ((this.ages[0] ?? 0) / Math.max(1, length - 1) || 1));
    const rounded = Math.round(seconds / 10) * 10;
    setText(this.from, seconds >= 120 ? `−${Math.round(seconds / 60)} min` : `−${rounded} s`);
    this.#look(this.at);
  }

  #point(event) {
    const box = this.figure.getBoundingClientRect();
    const length = this.columns[0]?.length ?? 0;
    if (!length) return;
    const back = ((box.right - event.clientX) / box.width) * (this.span - 1);
    this.#look(Math.min(length - 1, Math.max(0, Math.round(length - 1 - back))));
  }

  #key(event) {
    const length = this.columns[0]?.length ?? 0;
    const moves = { ArrowLeft: -5, ArrowRight: 5, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.#look(null);
    if (!(event.key in moves) || !length) return;
    event.preventDefault();
    this.#look(Math.min(length - 1, Math.max(0, (this.at ?? length) + moves[event.key])));
  }

  #look(index) {
    this.at = index;
    const values = index === null ? null : this.columns.map((column) => column[index]);
    if (!values || values[0] === undefined) {
      setAttribute(this.cursor, "d", "");
      setText(this.readout, "");
      this.caption.classList.remove("reading");
      return;
    }
    const x = this.x(index).toFixed(1);
    setAttribute(this.cursor, "d", `M${x} ${TOP - 2}V${HEIGHT - BOTTOM}`);
    const told = values.map((value, place) => `${this.series[place].label} ${this.format(value)}`);
    setText(this.readout, `−${this.ages[index]} s: ${told.join(", ")}`);
    this.caption.classList.add("reading");
  }
}

// A stream's line in its row: records delivered, and below it a tick where some were throttled.
export function drawSpark(svg, points, pointsMax) {
  const [width, height] = [120, 26];
  setAttribute(svg, "viewBox", `0 0 ${width} ${height}`);
  if (!svg.firstChild) {
    svg.append(makeSvg("path", { class: "area" }), makeSvg("path", { class: "line main" }), makeSvg("path", { class: "ticks" }));
  }
  const [area, line, ticks] = svg.children;
  const step = width / (spanOf(points.length, pointsMax) - 1);
  const x = (index) => width - (points.length - 1 - index) * step;
  const floor = height - 5;
  const most = niceCeiling(Math.max(1, ...points.map(([delivered]) => delivered)));
  const y = (value) => floor - (value / most) * (floor - 2);
  const delivered = points.map(([value]) => value);
  setAttribute(area, "d", points.length ? areaOf(delivered, x, y, floor) : "");
  setAttribute(line, "d", pathOf(delivered, x, y));
  const throttled = points.map(([, value], index) => (value ? `M${x(index).toFixed(1)} ${height - 3.5}v3.5` : ""));
  setAttribute(ticks, "d", throttled.join(""));
}
