// The page to watch: asks for the present once a second while it is seen, keeps the last minutes, and shows both.

import { Facts, byId, setHidden, setState, setText } from "./dom.js";
import { count, duration, milliseconds } from "./format.js";
import { StreamTable, fillBooks } from "./streams.js";
import { Tiles } from "./tiles.js";

const POLL_MS = 1000;
const POLL_AFTER_FAILURE_MS = 2000;
const ANSWER_TIMEOUT_MS = 5000;
const STALE_AFTER_MS = 4000;
const LAG_WORTH_TELLING_SECONDS = 0.1;

class BusyError extends Error {
  constructor(seconds) {
    super("too many viewers");
    this.seconds = seconds;
  }
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
  if (answer.status === 429) throw new BusyError(Number(answer.headers.get("Retry-After")) || 5);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

class Page {
  constructor() {
    this.tiles = new Tiles();
    this.books = new Facts(byId("books"));
    this.table = new StreamTable((id) => this.#askDetail(id).catch(() => {}));
    this.history = null;
    this.sparks = new Map();
    this.paused = false;
    this.polling = false;
    this.timer = 0;
    this.answeredAt = 0;
    byId("pause").addEventListener("click", () => this.#pause());
    document.addEventListener("visibilitychange", () => this.#poll());
    setInterval(() => this.#showAge(), 1000);
    this.#poll();
  }

  async #poll() {
    if (this.polling || this.paused || document.hidden) return;
    clearTimeout(this.timer);
    this.polling = true;
    let wait = POLL_MS;
    const askedAt = performance.now();
    try {
      const [now] = await Promise.all([ask("/page/now"), ...this.table.opened.map((id) => this.#askDetail(id))]);
      if (this.version && now.about.version !== this.version) location.reload();
      this.version = now.about.version;
      await this.#remember(now);
      this.answeredAt = performance.now();
      this.#show(now);
      this.#notice("");
      wait = Math.max(200, POLL_MS - (performance.now() - askedAt));
    } catch (error) {
      if (error instanceof BusyError) {
        wait = error.seconds * 1000;
        this.#notice(`Too many viewers for the proxy to serve at once: this page asks again in ${error.seconds} s.`);
      } else {
        wait = POLL_AFTER_FAILURE_MS;
        this.#lost(error);
      }
    } finally {
      this.polling = false;
      this.timer = setTimeout(() => this.#poll(), wait);
    }
  }

  async #askDetail(id) {
    this.table.detail(id, await ask(`/page/stream?id=${encodeURIComponent(id)}`));
  }

  // Adds the newest points to the last minutes; asks for all of them where some were missed, or the proxy is another.
  async #remember(now) {
    const known = this.history;
    const missed = known ? now.tick - known.tick : Infinity;
    const missedOfStreams = known ? now.stream_tick - known.stream_tick : Infinity;
    if (!known || missed < 0 || missed > now.points.length || missedOfStreams > 1) {
      this.history = await ask("/page/history");
      this.sparks = new Map(Object.entries(this.history.streams));
      return;
    }
    if (missed > 0) {
      known.points = [...known.points, ...now.points.slice(-missed)].slice(-known.points_max);
      const later = known.ages_seconds.map((age) => age + missed * known.tick_seconds);
      const newest = Array.from({ length: missed }, (_, place) => (missed - 1 - place) * known.tick_seconds);
      known.ages_seconds = [...later, ...newest].slice(-known.points_max);
      known.tick = now.tick;
    }
    if (missedOfStreams === 1) {
      const most = this.#sparkPoints();
      const sparks = new Map();
      for (const { id, rates } of now.streams) {
        sparks.set(id, [...(this.sparks.get(id) ?? []), [rates.delivered, rates.throttled]].slice(-most));
      }
      this.sparks = sparks;
      known.stream_tick = now.stream_tick;
    }
  }

  #sparkPoints() {
    return Math.round((this.history.points_max * this.history.tick_seconds) / this.history.stream_tick_seconds);
  }

  #show(now) {
    const { about } = now;
    const { names, points, ages_seconds: ages, points_max: pointsMax } = this.history;
    const draining = about.obstacles.includes("draining");
    const state = draining ? "draining" : about.obstacles.length ? "not ready" : "ready";
    setState(byId("state"), state, about.obstacles.length ? about.obstacles.join(", ") : "");
    const lag = about.event_loop_lag_seconds;
    setText(
      byId("about"),
      [
        `version ${about.version}`,
        `upstream ${about.upstream_kind}`,
        `up ${duration(about.uptime_seconds)}`,
        `${count(about.connections)} connection${about.connections === 1 ? "" : "s"}`,
        ...(lag > LAG_WORTH_TELLING_SECONDS ? [`event loop late by ${milliseconds(lag * 1000)}`] : []),
      ].join(" · "),
    );
    setHidden(byId("emulator-links"), about.upstream_kind !== "embedded");
    this.tiles.update(now, names, points, ages, pointsMax);
    fillBooks(this.books, now.records);
    this.table.update(now.streams, now.streams_known, this.sparks, this.#sparkPoints());
    const title = state === "ready" ? "kinesis-proxy" : `${state} · kinesis-proxy`;
    if (document.title !== title) document.title = title;
    this.#showAge();
  }

  #pause() {
    this.paused = !this.paused;
    byId("pause").setAttribute("aria-pressed", String(this.paused));
    setText(byId("pause"), this.paused ? "Go on" : "Pause");
    this.#showAge();
    this.#poll();
  }

  #showAge() {
    const age = performance.now() - this.answeredAt;
    const stale = this.answeredAt > 0 && age > STALE_AFTER_MS;
    document.body.classList.toggle("stale", stale && !this.paused);
    const told = this.paused ? "paused" : stale ? `${duration(age / 1000)} old` : this.answeredAt ? "live" : "";
    setText(byId("age"), told);
    byId("age").dataset.told = this.paused ? "paused" : stale ? "stale" : "live";
  }

  #lost(error) {
    setState(byId("state"), "no answer");
    const since = this.answeredAt ? ` since ${duration((performance.now() - this.answeredAt) / 1000)}` : "";
    const why = error instanceof TypeError || error.name === "TimeoutError" ? "" : ` (${error.message})`;
    this.#notice(`The proxy does not answer${since}${why}. What you see is old; this page goes on asking.`);
  }

  #notice(text) {
    setText(byId("notice"), text);
    setHidden(byId("notice"), !text);
  }
}

new Page();
