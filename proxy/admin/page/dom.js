// What touches the document. Names of streams and error codes are other people's text: only ever text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function byId(id) {
  return document.getElementById(id);
}

export function clone(templateId) {
  return byId(templateId).content.firstElementChild.cloneNode(true);
}

export function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

export function makeSvg(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Nothing is written that stands there already: a page of 200 streams changes little in a second.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// Shapes beside colours, and the word beside both.
const SIGNS = {
  failing: ["✕", "bad"],
  throttled: ["◆", "warn"],
  "backing off": ["◆", "warn"],
  "at limit": ["▲", "warn"],
  flowing: ["●", "good"],
  idle: ["○", "quiet"],
  ready: ["●", "good"],
  "not ready": ["■", "bad"],
  draining: ["■", "warn"],
  "no answer": ["✕", "bad"],
};

export function setState(node, word, detail = "") {
  const [sign, kind] = SIGNS[word] ?? ["?", "quiet"];
  if (node.dataset.word === word && node.dataset.detail === detail) return;
  node.dataset.word = word;
  node.dataset.detail = detail;
  const shape = make("span", `sign ${kind}`, sign);
  shape.setAttribute("aria-hidden", "true");
  node.replaceChildren(shape, make("span", `word ${kind}`, detail || word));
}

// Terms and values that keep their nodes from one second to the next.
export class Facts {
  constructor(list) {
    this.list = list;
    this.nodes = new Map();
  }

  set(facts) {
    const terms = new Set();
    for (const [term, value, className = ""] of facts) {
      terms.add(term);
      let node = this.nodes.get(term);
      if (!node) {
        const pair = make("div");
        node = make("dd");
        pair.append(make("dt", "", term), node);
        this.list.append(pair);
        this.nodes.set(term, node);
      }
      setText(node, value);
      if (node.parentElement.className !== className) node.parentElement.className = className;
    }
    for (const [term, node] of this.nodes) {
      if (!terms.has(term)) {
        node.parentElement.remove();
        this.nodes.delete(term);
      }
    }
  }
}

// A bar of a share, and a mark where the share that is allowed ends.
export function setGauge(cell, ratio, allowed, text) {
  const [, fill, mark] = cell.querySelectorAll("rect");
  const share = Math.min(1, Math.max(0, ratio ?? 0));
  setAttribute(fill, "width", `${(share * 100).toFixed(1)}%`);
  setAttribute(fill, "class", share >= 0.9 * (allowed ?? 1) && share > 0 ? "fill full" : "fill");
  const marked = allowed !== null && allowed !== undefined && allowed < 0.995;
  setAttribute(mark, "x", marked ? `${(allowed * 100).toFixed(1)}%` : "-10");
  setText(cell.querySelector(".percent"), text);
}
