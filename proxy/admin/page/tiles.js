// The tiles: what each shows of the present and of the last minutes.

import { Facts, byId, clone, make, setText } from "./dom.js";
import { bytes, count, milliseconds, percent, rate } from "./format.js";
import { Plot } from "./plot.js";

const main = (name, label) => ({ name, label, kind: "main" });
const other = (name, label) => ({ name, label, kind: "other" });
const sum = (counts, names) => names.reduce((total, name) => total + (counts[name] ?? 0), 0);

const worst = (counts) => Object.entries(counts).sort(([, one], [, other]) => other - one).slice(0, 1);

const TILES = [
  {
    title: "Records",
    series: [main("delivered", "delivered"), other("received", "received")],
    format: (value) => `${rate(value)}/s`,
    least: 10,
    figures: (now) => [[rate(now.rates.delivered), "delivered/s"]],
    facts: (now) => [
      ["Received", `${rate(now.rates.received)}/s`],
      ["Data", `${bytes(now.rates.delivered_bytes)}/s`],
      ["Calls answered", `${rate(now.rates.calls)}/s`],
    ],
  },
  {
    title: "Latency of put calls",
    series: [main("call_p99", "p99"), other("call_p50", "p50")],
    format: milliseconds,
    least: 5,
    figures: ({ latencies_ms: { call } }) => [[milliseconds(call.p99), "p99"], [milliseconds(call.p50), "p50"]],
    facts: ({ latencies_ms: { wait, upstream } }) => [
      ["Queued, p99", milliseconds(wait.p99)],
      ["Kinesis, p99", milliseconds(upstream.p99)],
      ["Kinesis, p50", milliseconds(upstream.p50)],
    ],
  },
  {
    title: "Held",
    series: [main("queued", "queued"), other("in_flight", "in flight")],
    format: count,
    least: 10,
    figures: (now) => [[count(now.records.queued), "queued"], [count(now.records.in_flight), "in flight"]],
    facts: ({ buffer }) => [
      ["Buffer", percent(Math.max(buffer.records / buffer.records_max, buffer.bytes / buffer.bytes_max))],
      ["Oldest record", milliseconds(buffer.oldest_record_age_ms)],
    ],
  },
  {
    title: "Throttled by Kinesis",
    series: [{ ...main("throttled", "throttled, sent again"), tone: "warn" }],
    format: (value) => `${rate(value)}/s`,
    least: 10,
    figures: (now) => [[rate(now.rates.throttled), "records/s", now.rates.throttled ? "warn" : ""]],
    facts: (now) => [
      ["Shards backing off", count(now.streams.reduce((total, { shards }) => total + (shards?.backing_off ?? 0), 0))],
      ["Shards at limit", count(now.streams.reduce((total, { shards }) => total + (shards?.at_limit ?? 0), 0))],
    ],
  },
  {
    title: "Not delivered",
    series: [{ ...main("failed", "failed"), tone: "bad" }, other("rejected", "refused at the door")],
    format: (value) => `${rate(value)}/s`,
    least: 10,
    figures: (now) => [
      [rate(now.rates.failed), "failed/s", now.rates.failed ? "bad" : ""],
      [rate(now.rates.rejected), "refused at the door/s", now.rates.rejected ? "warn" : ""],
    ],
    facts: (now) => [
      ["Failed in all", count(now.records.refused + now.records.expired)],
      ["Refused in all", count(Object.values(now.rejected).reduce((total, number) => total + number, 0))],
      ...worst(now.rejected).map(([reason]) => ["Most often", reason.replaceAll("_", " ")]),
    ],
  },
  {
    title: "Requests to Kinesis",
    series: [main("requests", "put requests")],
    format: (value) => `${rate(value)}/s`,
    least: 10,
    figures: ({ rates }) => [
      [rate(rates.batches), "requests/s"],
      [rate(rates.batches ? rates.records_per_batch : null), "records each"],
    ],
    facts: ({ upstream: { requests_in_flight, outcomes } }) => [
      ["In flight", count(requests_in_flight)],
      ["Answered in part", count(outcomes.partial)],
      ["Failed", count(sum(outcomes, ["throttled", "refused", "error", "unknown", "not_sent"]))],
    ],
  },
];

export class Tiles {
  constructor() {
    this.tiles = TILES.map((what) => {
      const node = clone("tile-template");
      node.querySelector("h2").textContent = what.title;
      for (const each of what.series) if (each.tone) each.kind += ` ${each.tone}`;
      byId("tiles").append(node);
      const figures = what.series.length;
      return {
        what,
        node,
        figures: [...Array(Math.max(figures, 2)).keys()].map(() => {
          const figure = make("span", "figure");
          figure.append(make("b"), make("span", "unit"));
          return figure;
        }),
        facts: new Facts(node.querySelector(".facts")),
        plot: new Plot(node.querySelector("figure"), what.series, what.format, what.least),
      };
    });
  }

  update(now, names, points, ages, pointsMax) {
    for (const { what, node, figures, facts, plot } of this.tiles) {
      const values = what.figures(now);
      const shown = node.querySelector(".figures");
      values.forEach(([value, unit, tone = ""], place) => {
        if (!figures[place].isConnected) shown.append(figures[place]);
        setText(figures[place].firstChild, value);
        setText(figures[place].lastChild, unit);
        if (figures[place].dataset.tone !== tone) figures[place].dataset.tone = tone;
      });
      facts.set(what.facts(now));
      const columns = what.series.map(({ name }) => {
        const column = names.indexOf(name);
        return points.map((point) => point[column]);
      });
      const highest = Math.max(0, ...columns[0].map((value) => value ?? 0));
      const told = values.map(([value, unit]) => `${value} ${unit}`).join(", ");
      plot.update(columns, ages, pointsMax, `${what.title}: ${told}; highest of the plot ${what.format(highest)}`);
    }
  }
}
