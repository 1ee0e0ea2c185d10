// docs/compatibility.md, from what a run of the wire tests has shown.
//
//   node compatibility.mjs CELLS            compares; ends with 1 and says what differs
//   node compatibility.mjs CELLS --write    writes it
//
// CELLS holds a line {"client":…,"feature":…,"cell":…} for each test that passed. features.json has the rows, the
// columns, and what a client lacks. A row that may be skipped (no engine, no way to bind port 443) keeps what the
// page has when no test spoke of it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { LACKING } from "./cells.mjs";

const here = (path) => new URL(path, import.meta.url);
const text = (path) => readFileSync(here(path), "utf8");
const PAGE = "../../docs/compatibility.md";
const present = existsSync(here(PAGE)) ? text(PAGE) : "";

const features = JSON.parse(text("features.json"));
const lock = JSON.parse(text("package-lock.json")).packages;
const requirements = text("requirements.txt");
const known = new Set(
  Object.values(features).flatMap(({ clients, groups }) =>
    clients.flatMap((c) => Object.values(groups).flatMap((rows) => Object.keys(rows).map((f) => `${c.id} ${f}`))),
  ),
);
const faults = [];

function version(client) {
  if (lock[client.lock]) return lock[client.lock].version;
  const name = client.lock.replace(/[-_.]/g, "[-_.]");
  return new RegExp(`^${name}==([^ \\\\]+)`, "im").exec(requirements)?.[1] ?? faults.push(`no version of ${client.lock}`);
}

const heading = (c) => `\`${c.name}\` ${version(c)}${c.by ? `, ${c.by}` : ""}`;

function read(file) {
  const cells = new Map();
  for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
    const { client, feature, cell } = JSON.parse(line);
    const key = `${client} ${feature}`;
    if (!known.has(key)) faults.push(`${key}: not in features.json`);
    if (cells.has(key) && cells.get(key) !== cell) faults.push(`${key}: both "${cells.get(key)}" and "${cell}"`);
    cells.set(key, cell);
  }
  return cells;
}

// The page as it is: heading of the column and name of the row to what stands there.
function committed() {
  const cells = new Map();
  let columns = [];
  for (const line of present.split("\n")) {
    if (!line.startsWith("| ")) continue;
    const [row, ...rest] = line.slice(2, -2).split(" | ");
    if (row === "") columns = rest;
    else rest.forEach((cell, i) => cells.set(`${columns[i]} ${row}`, cell));
  }
  return cells;
}

// `kept`: what the page has now, for a row that may be skipped.
function cellOf(client, feature, shown, kept) {
  const key = `${client.id} ${feature}`;
  const seen = shown.get(key);
  if (!client.lacks?.includes(feature)) return seen ?? kept ?? (faults.push(`${key}: no test shows it`), "?");
  if (seen && seen !== LACKING) faults.push(`${key}: a test shows what features.json says is lacking`);
  return LACKING;
}

function table({ clients, groups, maySkip = [] }, shown, before) {
  const columns = clients.map(heading);
  const lines = [`|  | ${columns.join(" | ")} |`, `|---|${"---|".repeat(clients.length)}`];
  for (const [group, rows] of Object.entries(groups)) {
    lines.push(`| **${group}** |${" |".repeat(clients.length)}`);
    for (const [feature, name] of Object.entries(rows)) {
      const kept = (i) => (maySkip.includes(feature) ? before.get(`${columns[i]} ${name}`) : undefined);
      lines.push(`| ${name} | ${clients.map((c, i) => cellOf(c, feature, shown, kept(i))).join(" | ")} |`);
    }
  }
  return lines;
}

function page(shown) {
  const before = committed();
  const out = [
    "# Which client does what with anyllm",
    "",
    "Each cell is what a test has seen the real client do, its files untouched, in the version named; the run of the tests",
    "writes this page (`make compatibility`), and fails where it differs. \"Not in this client\" is what a client itself lacks.",
    "The columns of the two proxy packages are clients behind a program that uses the package, with us behind that.",
    "[wire.md](wire.md) says what is sent, [migrate.md](migrate.md) how to point an application here.",
  ];
  for (const one of Object.values(features))
    out.push("", `## ${one.title}`, "", ...(one.notes ?? []).flatMap((n) => [n, ""]), ...table(one, shown, before));
  return `${out.join("\n")}\n`;
}

const [cells, write] = process.argv.slice(2);
const wanted = page(read(cells));
if (write === "--write") writeFileSync(here(PAGE), wanted);
else if (present !== wanted && faults.length === 0) {
  const [a, b] = [present, wanted].map((t) => t.split("\n"));
  for (let i = 0; i < Math.max(a.length, b.length); i++)
    if (a[i] !== b[i]) faults.push(`docs/compatibility.md line ${i + 1} is\n  ${a[i] ?? ""}\nand should be\n  ${b[i] ?? ""}`);
}
const SHOWN = 12;
for (const f of faults.slice(0, SHOWN)) console.error(`compatibility: ${f}`);
if (faults.length > SHOWN) console.error(`compatibility: and ${faults.length - SHOWN} more`);
process.exitCode = faults.length > 0 ? 1 : 0;
