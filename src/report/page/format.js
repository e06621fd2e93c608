// Numbers as texts, by their unit: as `vitx report` writes them.

const MEBI = 1024 * 1024;

function shortCount(value) {
  const [scaled, unit] = value >= 1e9 ? [value / 1e9, "G"] : value >= 1e6 ? [value / 1e6, "M"] : value >= 1e3 ? [value / 1e3, "k"] : [value, ""];
  return unit ? scaled.toFixed(2) + unit : value.toFixed(0);
}

function duration(value) {
  const whole = Math.round(Math.max(value, 0));
  const two = (number) => String(number).padStart(2, "0");
  if (value < 0.9995) return `${value.toFixed(3)} s`;
  if (value < 119.95) return `${value.toFixed(1)} s`;
  if (value < 7199.5) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
}

/** A number with so many significant digits, without zeros at its end. */
function plain(value, digits = 5) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

const SHOWN = {
  share: (value) => `${(100 * value).toFixed(2)}%`,
  count: shortCount,
  seconds: duration,
  bytes: (value) => `${(value / MEBI).toFixed(value / MEBI < 99.95 ? 1 : 0)} MiB`,
  whole: (value) => value.toFixed(0),
  loss: (value) => value.toFixed(4),
  number: (value) => plain(value),
};

/** A number with its unit; a dash for none. */
function shown(value, unit) {
  return Number.isFinite(value) ? SHOWN[unit](value) : "–";
}

const TICKS = {
  share: (value) => `${plain(100 * value, 4)}%`,
  count: (value) => shortCount(value).replace(/\.?0+([kMG])$/, "$1"),
  seconds: (value) => {
    if (value < 120 && value % 60) return `${plain(value, 3)} s`;
    if (value < 7200) return value % 60 ? duration(value) : `${value / 60} min`;
    return value % 3600 ? duration(value) : `${value / 3600} h`;
  },
  bytes: (value) => (value >= 1024 * MEBI ? `${plain(value / MEBI / 1024, 3)} GiB` : `${plain(value / MEBI, 3)} MiB`),
};

/** A number at an axis. */
function ticked(value, unit) {
  return (TICKS[unit] ?? ((value) => plain(value, 4)))(value);
}
