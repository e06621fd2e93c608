// Scales: from a value to its share of an axis, 0 to 1, and back; with the ticks that an axis shows.

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

/** The least step of a row of round numbers that is no smaller than `least`. */
function roundStep(least, unit) {
  const clock = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  if (unit === "seconds" && least > 0.5 && least <= 86400) return clock.find((step) => step >= least);
  const base = unit === "bytes" ? MEBI : 1;
  const power = 10 ** Math.floor(Math.log10(least / base));
  const steps = unit === "whole" ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10];
  const step = steps.find((step) => step * power >= (least / base) * (1 - 1e-9)) * power * base;
  return unit === "whole" ? Math.max(1, step) : step;
}

function evenTicks(low, high, count, unit) {
  const step = roundStep((high - low) / count, unit);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

/** Powers of ten, and what stands between where there are few of them. */
function powerTicks(low, high, count, unit) {
  const decades = Math.log10(high / low);
  if (decades < 0.7) return evenTicks(low, high, count, unit);
  const base = unit === "bytes" ? MEBI : 1;
  const every = Math.max(1, Math.ceil(decades / count));
  const parts = decades > 2.5 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low / base)); power <= Math.ceil(Math.log10(high / base)); power += every) {
    for (const part of parts) {
      const tick = Number((part * 10 ** power * base).toPrecision(12));
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
    }
  }
  return ticks;
}

/** Of numbers; `null` where there is none that can be shown. A logarithmic scale leaves out what is not above zero. */
function numberScale(values, { log = false, unit = "number", margin = 0.03 } = {}) {
  const range = extent(values.filter((value) => Number.isFinite(value) && (!log || value > 0)));
  if (!range) return null;
  const [into, back] = log ? [Math.log10, (value) => 10 ** value] : [(value) => value, (value) => value];
  let [low, high] = range.map(into);
  if (low === high) {
    const apart = log ? 0.2 : Math.abs(low) * 0.1 || 1;
    [low, high] = [low - apart, high + apart];
  } else {
    const room = (high - low) * margin;
    [low, high] = [low - room, high + room];
    // What counts or measures something does not go below nothing.
    if (!log && range[0] >= 0) low = Math.max(low, 0);
  }
  const ticks = (count) => (log ? powerTicks : evenTicks)(back(low), back(high), Math.max(count, 2), unit);
  return { unit, share: (value) => (into(value) - low) / (high - low), value: (share) => back(low + share * (high - low)), ticks };
}

function widestGap(shares) {
  const sorted = [...shares].sort((a, b) => a - b);
  return sorted.reduce((widest, share, at) => (at ? Math.max(widest, share - sorted[at - 1]) : 0), 0);
}

/** Whether the logarithm spreads numbers more evenly, as it does those of `log` and `loguniform`. */
function spreadsByPowers(values) {
  const [low, high] = extent(values) ?? [0, 0];
  if (!(low > 0) || low === high) return false;
  const even = values.map((value) => (value - low) / (high - low));
  const powers = values.map((value) => Math.log(value / low) / Math.log(high / low));
  return widestGap(powers) < widestGap(even) - 1e-9;
}

/** Where on an axis what has no value stands: below it. */
const APART = -0.09;

/** An axis of parallel coordinates. Its places hold whatever the values are: numbers by size, others in their order. */
function placeAxis(values, unit, labels = values) {
  const there = values.filter((value) => value !== null);
  if (there.length && there.every((value) => typeof value === "number")) {
    const distinct = [...new Set(there)].sort((a, b) => a - b);
    const log = !unit && spreadsByPowers(there);
    const scale = numberScale(there, { log, unit: unit ?? "number", margin: 0 });
    // Where few values were tried, they are the ticks.
    const ticks = !unit && distinct.length <= 8 ? () => distinct : scale.ticks;
    const place = (value) => (value === null ? APART : scale.share(value));
    return { numeric: true, place, ticks: (count) => ticks(count).map((tick) => [place(tick), ticked(tick, unit)]), value: scale.value };
  }
  const distinct = new Map();
  values.forEach((value, at) => value !== null && !distinct.has(String(value)) && distinct.set(String(value), labels[at]));
  const order = [...distinct.keys()];
  const place = (value) => {
    if (value === null) return APART;
    return order.length === 1 ? 0.5 : order.indexOf(String(value)) / (order.length - 1);
  };
  return { numeric: false, place, ticks: () => order.map((value) => [place(value), distinct.get(value)]), order };
}
