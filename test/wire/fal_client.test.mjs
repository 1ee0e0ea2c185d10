// What an answer says beside fal's own fields; clients.test.mjs drives fal's clients through all they do.
import { after, before, it } from "node:test";
import assert from "node:assert/strict";
import { closes } from "./common.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, server;

before(async () => {
  mock = await startMock();
  server = await startServer(mockConfig(mock, { ok: "/ok", silent: "/silent", refusing: "/status/400" }));
  await server.ready();
});

after(async () => {
  await server?.stop();
  await mock?.stop();
});

const run = (name, init) =>
  server.get(`/run/${ID}`, { method: "POST", body: JSON.stringify({ prompt: "x", model: `test/${name}` }), ...init });

it("run names the upstream and the model, never an address", async () => {
  const r = await run("ok");
  assert.equal(r.headers.get("x-anyllm-upstream"), "ok");
  assert.equal(r.headers.get("x-anyllm-model"), "test/ok");
  for (const [, v] of r.headers) assert.ok(!v.includes(mock.url.slice(7)));
});

it("the upstream's 400 becomes 422 with its message", async () => {
  const r = await run("refusing");
  assert.equal(r.status, 422);
  assert.ok((await r.json()).message);
});

it("a caller who leaves closes the upstream call at once", async () => {
  const stop = new AbortController();
  const call = run("silent", { signal: stop.signal });
  await closes(mock, () => (stop.abort(), assert.rejects(call)));
});
