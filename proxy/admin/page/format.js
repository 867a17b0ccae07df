// How numbers are written. Figures are tabular, so equal places stand under each other.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
// As wide as a point and a figure: whole numbers and tenths then align in a column.
const NO_TENTH = "\u2008\u2007";
export const NOTHING = "–";

export function count(value) {
  return value === null || value === undefined ? NOTHING : whole.format(value);
}

// A rate in running text or under a plot.
export function rate(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value >= 1e6) return `${tenth.format(value / 1e6)} M`;
  return value === 0 || value >= 10 ? whole.format(value) : tenth.format(value);
}

// A rate in a column.
export function columnRate(value) {
  if (value === null || value === undefined) return NOTHING + NO_TENTH;
  return value === 0 || value >= 10 ? whole.format(value) + NO_TENTH : tenth.format(value);
}

export function percent(ratio) {
  if (ratio === null || ratio === undefined) return NOTHING;
  return ratio > 0 && ratio < 0.01 ? "<1\u2009%" : `${whole.format(ratio * 100)}\u2009%`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value >= 10_000) return `${whole.format(value / 1000)} s`;
  if (value >= 1000) return `${tenth.format(value / 1000)} s`;
  return value === 0 || value >= 10 ? `${whole.format(value)} ms` : `${tenth.format(value)} ms`;
}

export function bytes(value) {
  if (value >= 1 << 30) return `${tenth.format(value / (1 << 30))} GiB`;
  if (value >= 1 << 20) return `${tenth.format(value / (1 << 20))} MiB`;
  if (value >= 1024) return `${whole.format(value / 1024)} KiB`;
  return `${whole.format(value)} B`;
}

export function duration(seconds) {
  if (seconds < 60) return `${whole.format(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${whole.format(seconds / 86_400)} days`;
}
