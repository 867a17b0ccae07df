// The table of streams: rows that stay as they are while numbers change, and a stream's shards when it is opened.

import { Facts, byId, clone, setAttribute, setGauge, setHidden, setState, setText } from "./dom.js";
import { NOTHING, columnRate, count, milliseconds, percent } from "./format.js";
import { drawSpark } from "./plot.js";

const OPEN_MAX = 4;
const ROWS_AT_FIRST = 40;
const SORT_EVERY_MS = 5000;
const SEVERITY = ["failing", "throttled", "at limit", "flowing", "idle"];
const ID_TAIL = 4;
const NO_POINTS = [];

const shareOf = (row) => (row.shards?.limit_per_second ? row.rates.delivered / row.shards.limit_per_second : null);
const allowedOf = ({ shards }) => (shards?.limit_per_second ? shards.allowed_per_second / shards.limit_per_second : null);
const hottestOf = (row) => row.shards?.hottest_utilization_ratio ?? null;

const SORTS = {
  name: { key: (row) => row.name, first: "ascending" },
  state: { key: (row) => SEVERITY.indexOf(row.state), first: "ascending" },
  rate: { key: (row) => row.rates.delivered, first: "descending" },
  share: { key: (row) => shareOf(row) ?? -1, first: "descending" },
  shards: { key: (row) => row.open_shards, first: "descending" },
  hottest: { key: (row) => hottestOf(row) ?? -1, first: "descending" },
  queued: { key: (row) => row.queued, first: "descending" },
  flight: { key: (row) => row.in_flight, first: "descending" },
  wait: { key: (row) => row.wait_p99_ms ?? -1, first: "descending" },
  throttled: { key: (row) => row.rates.throttled, first: "descending" },
  failed: { key: (row) => row.failed, first: "descending" },
};

export class StreamTable {
  // onOpen is called when a stream was opened, so that its shards come at once.
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.table = byId("streams");
    this.rows = new Map();
    this.opened = [];
    this.sort = { name: "name", direction: "ascending" };
    this.sortedAt = -Infinity;
    this.showsAll = false;
    this.everShown = false;
    this.filter = byId("filter");
    this.filter.addEventListener("input", () => this.#arrange());
    byId("show-all").addEventListener("click", () => {
      this.showsAll = !this.showsAll;
      this.#arrange();
    });
    for (const header of this.table.querySelectorAll("th[data-sort]")) {
      header.querySelector("button").addEventListener("click", () => this.#sortBy(header.dataset.sort));
    }
    this.#showSort();
  }

  // sparks are drawn anew only when there are others: they change every few seconds.
  update(streams, known, sparks, sparkPoints) {
    const present = new Set(streams.map((row) => row.id));
    for (const [id, row] of this.rows) {
      if (present.has(id)) continue;
      row.body.remove();
      this.rows.delete(id);
      this.opened = this.opened.filter((each) => each !== id);
    }
    let isNew = false;
    for (const facts of streams) {
      let row = this.rows.get(facts.id);
      if (!row) {
        row = this.#make(facts);
        this.rows.set(facts.id, row);
        isNew = true;
      }
      row.facts = facts;
      this.#fill(row, sparks.get(facts.id) ?? NO_POINTS, sparkPoints);
    }
    this.known = known;
    setHidden(this.table, !streams.length);
    setHidden(byId("no-streams"), streams.length > 0);
    setHidden(byId("filter-label"), streams.length < 2 && !this.filter.value);
    if (!this.everShown && streams.length) {
      this.everShown = true;
      if (streams.length <= 2) streams.forEach((each) => this.#open(each.id));
    }
    const busy = this.table.matches(":hover") || this.table.contains(document.activeElement);
    if (isNew || (!busy && performance.now() - this.sortedAt > SORT_EVERY_MS)) this.#arrange();
  }

  // What has come for an opened stream; null if it is no longer known.
  detail(id, facts) {
    const row = this.rows.get(id);
    if (!row || !row.detail || !facts) return;
    fillDetail(row.detail, facts);
  }

  #make(facts) {
    const body = clone("stream-template");
    const cells = {};
    for (const cell of body.querySelectorAll("[data-cell]")) cells[cell.dataset.cell] = cell;
    const button = body.querySelector("button");
    body.querySelector(".name").textContent = facts.name;
    if (facts.id !== facts.name) button.title = facts.id;
    const row = { body, cells, button, detail: null };
    button.addEventListener("click", () => (row.detail ? this.#close(facts.id) : this.#open(facts.id)));
    return row;
  }

  #fill(row, spark, sparkPoints) {
    const { cells, facts, body } = row;
    setState(cells.state, facts.state);
    setAttribute(body, "data-state", facts.state);
    setText(cells.rate, columnRate(facts.rates.delivered));
    const share = shareOf(facts);
    setGauge(cells.share, share, allowedOf(facts), percent(share));
    if (row.spark !== spark) {
      row.spark = spark;
      drawSpark(cells.plot.firstElementChild, spark, sparkPoints);
    }
    setText(cells.shards, facts.open_shards ? count(facts.open_shards) : NOTHING);
    setText(cells.hottest, percent(hottestOf(facts)));
    setAttribute(cells.hottest, "title", facts.shards?.hottest ?? "");
    setText(cells.queued, count(facts.queued));
    setText(cells.flight, count(facts.in_flight));
    setText(cells.wait, milliseconds(facts.wait_p99_ms));
    setText(cells.throttled, columnRate(facts.rates.throttled));
    setText(cells.failed, count(facts.failed));
  }

  #open(id) {
    const row = this.rows.get(id);
    if (this.opened.length >= OPEN_MAX) this.#close(this.opened[0]);
    row.detail = clone("detail-template");
    row.detail.id = `detail-${this.rows.size}-${[...this.rows.keys()].indexOf(id)}`;
    row.body.append(row.detail);
    row.button.setAttribute("aria-expanded", "true");
    row.button.setAttribute("aria-controls", row.detail.id);
    this.opened.push(id);
    this.onOpen(id);
  }

  #close(id) {
    const row = this.rows.get(id);
    row.detail.remove();
    row.detail = null;
    row.button.setAttribute("aria-expanded", "false");
    row.button.removeAttribute("aria-controls");
    this.opened = this.opened.filter((each) => each !== id);
  }

  #sortBy(name) {
    const { first } = SORTS[name];
    const other = first === "ascending" ? "descending" : "ascending";
    const again = this.sort.name === name && this.sort.direction === first;
    this.sort = { name, direction: again ? other : first };
    this.#showSort();
    this.#arrange();
  }

  #showSort() {
    for (const header of this.table.querySelectorAll("th[data-sort]")) {
      if (header.dataset.sort === this.sort.name) header.setAttribute("aria-sort", this.sort.direction);
      else header.removeAttribute("aria-sort");
    }
  }

  #arrange() {
    this.sortedAt = performance.now();
    const { key } = SORTS[this.sort.name];
    const sign = this.sort.direction === "ascending" ? 1 : -1;
    const wanted = this.filter.value.trim().toLowerCase();
    const matching = [...this.rows.values()].filter(({ facts }) => facts.name.toLowerCase().includes(wanted));
    matching.sort((one, other) => {
      const [left, right] = [key(one.facts), key(other.facts)];
      if (left !== right) return left < right ? -sign : sign;
      return one.facts.name < other.facts.name ? -1 : 1;
    });
    const shown = this.showsAll ? matching : matching.slice(0, ROWS_AT_FIRST);
    const bodies = [...this.table.tBodies];
    const same = bodies.length === shown.length && bodies.every((body, place) => body === shown[place].body);
    if (!same) {
      // Moving a node takes the focus from it.
      const focused = document.activeElement;
      for (const body of bodies) body.remove();
      this.table.append(...shown.map(({ body }) => body));
      if (this.table.contains(focused)) focused.focus({ preventScroll: true });
    }
    setText(byId("streams-count"), wanted ? `${count(matching.length)} of ${count(this.known)}` : count(this.known));
    const hidden = matching.length - shown.length;
    const unwatched = this.known - this.rows.size;
    setHidden(byId("more"), !hidden && unwatched <= 0 && !(this.showsAll && matching.length > ROWS_AT_FIRST));
    setHidden(byId("show-all"), matching.length <= ROWS_AT_FIRST);
    setText(byId("show-all"), this.showsAll ? `Show the first ${ROWS_AT_FIRST}` : `Show ${count(hidden)} more`);
    setText(
      byId("more-text"),
      unwatched > 0 ? `${count(unwatched)} streams with fewer records are in the sums alone.` : "",
    );
  }
}

function fillDetail(detail, facts) {
  detail.parts ??= {
    equation: new Facts(detail.querySelector(".equation")),
    facts: new Facts(detail.querySelector(".facts")),
    body: detail.querySelector("tbody"),
    shards: new Map(),
  };
  const { parts } = detail;
  setText(detail.querySelector(".arn"), facts.arn ?? "");
  setHidden(detail.querySelector(".arn"), !facts.arn);
  fillBooks(parts.equation, facts.records);
  parts.facts.set([
    ["Partition keys open", count(facts.partition_keys_open)],
    ["Sent again", count(facts.retried)],
    ["of these perhaps written", count(facts.unknown_outcomes)],
    ...(facts.order_inversions ? [["Passed by a younger record", count(facts.order_inversions)]] : []),
    ...(facts.mispredicted ? [["In another shard than predicted", count(facts.mispredicted)]] : []),
    ...Object.entries(facts.errors).map(([code, number]) => [code, count(number), "error"]),
  ]);
  const states = Object.entries(facts.shards_by_state).filter(([, number]) => number);
  const shown = facts.shards.length;
  const most = shown < facts.shards_counted ? ` The ${shown} most pressed:` : "";
  const looked = facts.shards_counted < facts.shards_known ? ` (of the first ${count(facts.shards_counted)})` : "";
  setText(
    detail.querySelector(".shard-counts"),
    `${count(facts.shards_known)} shard${facts.shards_known === 1 ? "" : "s"}${looked}: ` +
      `${states.map(([state, number]) => `${count(number)} ${state}`).join(", ")}.${most}`,
  );
  const used = new Set();
  facts.shards.forEach((shard, place) => {
    const id = shard.shard_id ?? "not known yet";
    used.add(id);
    let row = parts.shards.get(id);
    if (!row) {
      row = makeShard(id);
      parts.shards.set(id, row);
    }
    fillShard(row.cells, shard);
    if (parts.body.children[place] !== row.node) parts.body.insertBefore(row.node, parts.body.children[place] ?? null);
  });
  for (const [id, row] of parts.shards) {
    if (used.has(id)) continue;
    row.node.remove();
    parts.shards.delete(id);
  }
}

function makeShard(id) {
  const node = clone("shard-template");
  const cells = {};
  for (const cell of node.querySelectorAll("[data-cell]")) cells[cell.dataset.cell] = cell;
  const [head, tail] = cells.id.children;
  const isNumbered = id.startsWith("shardId-");
  head.textContent = isNumbered ? id.slice(0, -ID_TAIL) : "";
  tail.textContent = isNumbered ? id.slice(-ID_TAIL) : id;
  return { node, cells };
}

function fillShard(cells, shard) {
  setState(cells.state, shard.state);
  setGauge(cells.share, shard.utilization_ratio, shard.rate_ratio, percent(shard.utilization_ratio));
  setText(cells.records, columnRate(shard.records_per_second));
  setText(cells["records-limit"], shard.limit_records_per_second ? count(shard.limit_records_per_second) : "∞");
  setText(cells.bytes, columnRate(shard.bytes_per_second === null ? null : shard.bytes_per_second / 1024));
  setText(cells["bytes-limit"], shard.limit_bytes_per_second ? count(shard.limit_bytes_per_second / 1024) : "∞");
  setText(cells.ready, count(shard.ready_records));
  setText(cells.throttled, columnRate(shard.throttled_per_second));
  setText(cells["throttled-all"], count(shard.throttled_records));
  setText(cells.backoff, shard.backoff_ms ? milliseconds(shard.backoff_ms) : NOTHING);
}

// received = delivered + refused + expired + withdrawn + queued + in flight, at any moment.
export function fillBooks(facts, records) {
  facts.set([
    ["received", count(records.received), "sum"],
    ["delivered", count(records.delivered), "good"],
    ["refused", count(records.refused), records.refused ? "bad" : "nil"],
    ["expired", count(records.expired), records.expired ? "bad" : "nil"],
    ["withdrawn", count(records.withdrawn), records.withdrawn ? "" : "nil"],
    ["queued", count(records.queued), records.queued ? "" : "nil"],
    ["in flight", count(records.in_flight), records.in_flight ? "" : "nil"],
  ]);
}
