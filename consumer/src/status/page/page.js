// The live page: asks /status and /history each second, and draws what they say. Letters and members have
// files of their own, which are loaded before this one.
//
// Whatever comes from the consumer (topics, tables, errors) is set as text, never as markup.
"use strict";

const EVERY_MS = 1000;
const ANSWER_WITHIN_MS = 5000;
// What the charts show. Points further apart than the gap are not joined by a line: nobody was there.
const RANGES = [
  { name: "5 minutes", minutes: 5, gap: 3500, query: "", points: [] },
  { name: "1 hour", minutes: 60, gap: 40000, query: "hour=true&", points: [] },
];
let range = RANGES[0];
const WIDTH = 600;
const HEIGHT = 160;

const element = (id) => document.getElementById(id);
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en");

const count = (n) => (n === null || n === undefined ? "–" : n < 10000 ? whole.format(n < 10 ? Math.round(n * 10) / 10 : Math.round(n)) : short.format(n));
const offset = (n) => (n === null || n === undefined ? "–" : String(n));
const ratio = (n) => (n === null || n === undefined ? "–" : n.toFixed(n < 10 ? 1 : 0));

function bytes(n) {
  if (n === null || n === undefined) return "–";
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let unit = -1;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n.toFixed(n < 10 ? 1 : 0)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// Since when, for a person who looks now.
function since(ms, now) {
  const at = new Date(ms);
  const days = now - ms > 86400000 ? `${at.toLocaleDateString()} ` : "";
  return `since ${days}${at.toLocaleTimeString()}, ${time(Math.max(0, now - ms) / 1000)} ago`;
}

// A long sentence is folded: its beginning is the headline, the rest opens.
const FOLDED_AT = 90;

function sentence(node, text) {
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  if (text.length <= FOLDED_AT) { node.replaceChildren(text); return; }
  const details = make("details");
  details.append(make("summary", "", `${text.slice(0, FOLDED_AT)} …`), text);
  node.replaceChildren(details);
}

// Only a change is written down, so that a screen reader is told of changes alone.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function draw(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// A chart of one or two lines over the range that is shown.
class Chart {
  constructor(id, title, format, lines) {
    this.format = format;
    this.lines = lines;
    this.figure = make("figure");
    this.figure.id = id;
    const caption = make("figcaption");
    caption.append(make("b", "", title));
    this.legends = lines.map((line) => caption.appendChild(make("span", line.className, line.name)));
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    for (const y of [0, HEIGHT / 2, HEIGHT]) this.svg.append(draw("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
    this.paths = lines.map((line) => this.svg.appendChild(draw("path", { class: line.className, d: "" })));
    const plot = make("div", "plot");
    this.top = make("span", "top");
    this.middle = make("span", "middle");
    plot.append(this.svg, this.top, this.middle);
    const times = make("div", "times");
    this.from = make("span");
    times.append(this.from, make("span", "", "now"));
    this.figure.append(caption, plot, times);
    this.title = title;
  }

  show(points, now) {
    const values = (line) => points.map((point) => point[line.field]).filter((value) => value !== null);
    const highest = Math.max(0, ...this.lines.flatMap(values));
    say(this.from, `${range.name} ago`);
    const top = ceiling(highest);
    say(this.top, this.format(top));
    say(this.middle, this.format(top / 2));
    const told = this.lines.map((line, at) => {
      this.paths[at].setAttribute("d", path(points, line.field, top, now));
      const last = points.length ? points[points.length - 1][line.field] : null;
      const text = `${line.name} ${this.format(last)}`;
      say(this.legends[at], text);
      return text;
    });
    this.svg.setAttribute("aria-label", `${this.title} over the last ${range.name}; now ${told.join(", ")}; highest ${this.format(highest)}`);
  }
}

// The least of 1, 2, 5, 10, … that is not below `value`.
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

function path(points, field, top, now) {
  let d = "";
  let before = null;
  for (const point of points) {
    const value = point[field];
    if (value === null) { before = null; continue; }
    const x = WIDTH * (1 - (now - point.time_ms) / (range.minutes * 60000));
    const y = HEIGHT * (1 - value / top);
    const joined = before !== null && point.time_ms - before < range.gap;
    // A point alone is a line as well, or it could not be seen.
    d += joined ? `L${x.toFixed(1)} ${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}h2`;
    before = point.time_ms;
  }
  return d;
}

const charts = [
  new Chart("chart-rate", "Rate", (n) => `${count(n)}/s`, [
    { name: "records in", field: "records_per_second", className: "first" },
    { name: "rows out", field: "rows_per_second", className: "second" },
  ]),
  new Chart("chart-lag", "Lag", count, [{ name: "records behind", field: "lag_records", className: "first" }]),
  new Chart("chart-age", "Oldest", time, [{ name: "age of the oldest read record", field: "lag_seconds", className: "first" }]),
  new Chart("chart-latency", "Transactions", time, [
    { name: "mean", field: "transaction_seconds", className: "first" },
    { name: "slowest", field: "transaction_seconds_max", className: "second" },
  ]),
];

// Rows are kept and their cells changed in place: nothing flickers, and a selection stays.
function fill(body, rows) {
  const heads = [...body.parentElement.tHead.rows[0].cells].map((head) => head.textContent);
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    cells.forEach(([text, className], place) => {
      let cell = row.cells[place];
      if (!cell) {
        cell = document.createElement(place === 0 ? "th" : "td");
        if (place === 0) cell.scope = "row";
        row.append(cell);
      }
      if (cell.className !== (className ?? "")) cell.className = className ?? "";
      if (cell.dataset.head !== heads[place]) cell.dataset.head = heads[place];
      if (className === "error") sentence(cell, text);
      else say(cell, text);
    });
  });
}

const MOODS = { running: "good", reading: "good", failing: "bad", stopped: "bad", locating: "warn", revoking: "warn", paused: "warn" };

function routeCells(route) {
  return [
    [route.topic], [route.table, "name wide"], [route.priority, "wide"], [route.state, MOODS[route.state]],
    [route.error ?? "", "error"],
    [count(route.lag_records), "number"], [time(route.lag_seconds), "number wide"],
    [count(route.records_per_second), "number"], [count(route.rows_per_second), "number"],
    [ratio(route.fold), "number wide"], [count(route.dead_letters), "number wide"],
    [count(route.open_dead_letters), "number wide"],
  ];
}

function partitionCells(route, partition) {
  return [
    [route.topic], [String(partition.partition), "number"], [partition.state, MOODS[partition.state]],
    [partition.error ?? "", "error"],
    [count(partition.lag_records), "number"], [time(partition.lag_seconds), "number wide"],
    [count(partition.records_per_second), "number"], [offset(partition.log_end), "number wide"],
    [offset(partition.database_offset), "number wide"], [offset(partition.committed_offset), "number wide"],
    [count(partition.buffer_rows), "number wide"], [bytes(partition.buffer_bytes), "number wide"],
  ];
}

const SIGNS = { good: "", warn: "▲ ", bad: "✕ " };
let pipeline = "write-behind";

// The tab says it, too: its title begins with a sign, and its icon has the colour.
function mood(className, text) {
  const state = element("state");
  if (state.className !== `state ${className}`) state.className = `state ${className}`;
  say(state, text);
  const title = `${SIGNS[className] ?? ""}${pipeline} · write-behind`;
  if (document.title !== title) document.title = title;
  const icon = className === "bad" || className === "warn" ? `/icon-${className}.svg` : "/icon.svg";
  if (element("icon").getAttribute("href") !== icon) element("icon").setAttribute("href", icon);
}

// A list whose items are kept and changed in place.
function list(node, items, write) {
  while (node.children.length > items.length) node.lastChild.remove();
  items.forEach((item, at) => write(node.children[at] ?? node.appendChild(make("li")), item));
}

function trouble(node, { text, when }) {
  const [told, began] = node.children.length ? node.children : [make("div"), make("div", "since")];
  if (!node.children.length) node.append(told, began);
  sentence(told, text);
  say(began, when);
}

const known = (values) => values.filter((value) => value !== null && value !== undefined);
const sum = (values) => (known(values).length ? known(values).reduce((a, b) => a + b, 0) : null);

// One process of a fleet looks like the whole, unless it says so.
function partitions(process, routes) {
  const all = sum(routes.map((route) => route.topic_partitions));
  const own = process.partitions;
  return all > own ? `this process has ${own} of ${all} partitions` : `${own} ${own === 1 ? "partition" : "partitions"}`;
}

// The version, and the commit that tells apart what has the same one.
function versionOf({ version, commit }) {
  return commit ? `${version} (${commit})` : version;
}

function show(report) {
  const { process, routes } = report;
  pipeline = report.pipeline;
  say(element("pipeline"), report.pipeline);
  const troubles = report.troubles.map(({ about, message, since_ms: began, attempts }) => ({
    text: message.startsWith(about) ? message : `${about}: ${message}`,
    when: `${since(began, report.time_ms)}, ${whole.format(attempts)} ${attempts === 1 ? "attempt" : "attempts"}`,
  }));
  const [why] = process.not_ready;
  // What is listed as wrong need not be said twice.
  if (why) mood(process.state === "running" ? "bad" : "warn", troubles.length ? "Not ready" : `Not ready: ${why.length > FOLDED_AT ? `${why.slice(0, FOLDED_AT)} …` : why}`);
  else mood("good", "Reading and writing");
  const { held_bytes, limit_bytes, resident_bytes } = process.memory;
  say(element("process"), `version ${versionOf(process)}, up ${time(process.uptime_seconds)}, ${partitions(process, routes)}, ` +
    `holds ${bytes(held_bytes)} of ${bytes(limit_bytes)}, process ${bytes(resident_bytes)}`);

  say(element("places"), `from ${process.brokers} to ${process.database}`);

  list(element("trouble-list"), troubles, trouble);
  showLetters(routes, process.actions);
  element("troubles").hidden = troubles.length === 0;

  const all = (field) => routes.map((route) => route[field]);
  say(element("lag-records"), count(sum(all("lag_records"))));
  const ages = known(all("lag_seconds"));
  say(element("lag-seconds"), time(ages.length ? Math.max(...ages) : null));
  say(element("records"), count(sum(all("records_per_second"))));
  say(element("rows"), count(sum(all("rows_per_second"))));
  say(element("fold"), ratio(sum(all("rows_written")) ? sum(all("records_written")) / sum(all("rows_written")) : null));
  say(element("dead-letters"), count(sum(all("dead_letters"))));
  say(element("open-letters"), count(sum(all("open_dead_letters"))));

  fill(element("routes"), routes.map(routeCells));
  fill(element("partitions"), routes.flatMap((route) => route.partitions.map((partition) => partitionCells(route, partition))));
}

// What becomes of the lag if it goes on as in the last minute. A change too small to tell from the
// beat of the batches says nothing.
const TREND_MS = 60000;
const TREND_MS_MIN = 5000;

function trend(points, now) {
  const known = points.filter((point) => point.lag_records !== null && point.time_ms >= now - TREND_MS);
  if (known.length < 2) return "";
  const [first, last] = [known[0], known[known.length - 1]];
  const [passed, fallen] = [last.time_ms - first.time_ms, first.lag_records - last.lag_records];
  if (passed < TREND_MS_MIN || last.lag_records === 0 || Math.abs(fallen) < Math.max(20, first.lag_records / 50)) return "";
  const rate = Math.abs(fallen) / (passed / 1000);
  return fallen > 0 ? `, all in about ${time(last.lag_records / rate)}` : `, ${count(rate)} more a second`;
}

let answered = null;

async function ask(path, within = ANSWER_WITHIN_MS) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(within), cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// The newer points of a range.
async function extend(one) {
  const after = one.points.length ? one.points[one.points.length - 1].time_ms : 0;
  const newer = await ask(`/history?${one.query}after=${after}`);
  // Another question for the same range may have been answered meanwhile.
  const last = one.points.length ? one.points[one.points.length - 1].time_ms : 0;
  one.points = one.points.concat(newer.filter((point) => point.time_ms > last));
}

// Each range keeps its own; the seconds are asked for always, because the trend is of them.
function drawCharts() {
  for (const one of RANGES) {
    one.points = one.points.filter((point) => point.time_ms >= answered - one.minutes * 60000);
  }
  for (const chart of charts) chart.show(range.points, answered);
}

function ranges() {
  return RANGES.map((one) => {
    const button = make("button", "", one.name);
    button.setAttribute("aria-pressed", String(one === range));
    button.addEventListener("click", async () => {
      range = one;
      for (const other of element("ranges").children) other.setAttribute("aria-pressed", String(other === button));
      await extend(one).catch(() => {});
      if (answered) drawCharts();
    });
    return button;
  });
}

async function turn() {
  try {
    const shown = new Set([RANGES[0], range]);
    const [report] = await Promise.all([ask("/status"), ...[...shown].map(extend)]);
    answered = report.time_ms;
    show(report);
    drawCharts();
    say(element("lag-trend"), trend(RANGES[0].points, answered));
  } catch {
    const since = answered ? ` since ${new Date(answered).toLocaleTimeString()}` : "";
    mood("bad", `The consumer does not answer${since}`);
  }
  setTimeout(turn, EVERY_MS);
}

element("ranges").append(...ranges());
element("charts").append(...charts.map((chart) => chart.figure));
turn();
askFleet();
