// What a test has shown of a client becomes one cell of docs/compatibility.md: compatibility.mjs gathers them.
import { appendFileSync, readFileSync } from "node:fs";

const tables = JSON.parse(readFileSync(new URL("features.json", import.meta.url), "utf8"));

export const LACKING = "not in this client";

const everyFeature = new Set(Object.values(tables).flatMap((t) => Object.values(t.groups).flatMap(Object.keys)));
const clients = new Map(Object.values(tables).flatMap((t) => t.clients.map((c) => [c.id, c])));

export const lacks = (client, feature) => clients.get(client).lacks?.includes(feature) ?? false;

export function cell(client, feature, text = "yes") {
  if (!everyFeature.has(feature) || !clients.has(client)) throw new Error(`no cell for ${client}, ${feature}`);
  if (process.env.COMPATIBILITY_CELLS)
    appendFileSync(process.env.COMPATIBILITY_CELLS, `${JSON.stringify({ client, feature, cell: text })}\n`);
}
