// Kill -9 loses nothing that was accepted.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFalClient } from "@fal-ai/client";
import { startGate } from "./front.mjs";
import { mockConfig, sleep, startMock, startServer, through } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, data;

before(async () => {
  mock = await startMock();
  data = mkdtempSync(join(tmpdir(), "anyllm-data-"));
});

after(async () => {
  await mock?.stop();
  rmSync(data, { recursive: true, force: true });
});

const submit = (server, prompt) =>
  createFalClient(through(server.base)).queue.submit(ID, { input: { prompt } }).then((s) => s.request_id);

async function finished(server, requestId) {
  const fal = createFalClient(through(server.base));
  await fal.queue.subscribeToStatus(ID, { requestId, pollInterval: 50 });
  return (await fal.queue.result(ID, { requestId })).data.output;
}

describe("kill -9", () => {
  it("in the middle of 20 queued requests: each ends with exactly one result", async () => {
    const config = mockConfig(mock, { slow: "/delay/300" }).replace("key: ", "concurrency: 4, key: ");
    let server = await startServer(config, { data });
    await server.ready();
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => submit(server, `nonce:kill${i}x`)));
    await sleep(450);
    await server.kill();
    server = await startServer(config, { data });
    const outputs = await Promise.all(ids.map((id) => finished(server, id)));
    outputs.forEach((o, i) => assert.match(o, new RegExp(`nonce:kill${i}x`)));
    const again = await Promise.all(ids.map((id) => finished(server, id)));
    assert.deepEqual(again, outputs);
    const calls = (await mock.stats()).calls_by_prompt;
    for (const n of Object.values(calls)) assert.ok(n <= 2, "more upstream calls than 1 + restarts");
    await server.stop();
  });

  it("under a client that subscribes: it waits, and has its answer from the next server", async () => {
    const gate = await startGate(mock.url);
    try {
      const config = mockConfig(mock, { gate: gate.url });
      let server = await startServer(config, { data });
      await server.ready();
      const listen = new URL(server.base).host;
      const prompt = "nonce:restart";
      const { arrived, release } = gate.hold(prompt);
      const fal = createFalClient(through(server.base));
      const answer = fal.subscribe(ID, { input: { prompt }, pollInterval: 20 });
      await arrived;
      await server.kill();
      release();
      server = await startServer(config, { data, listen });
      assert.match((await answer).data.output, /nonce:restart/);
      await server.stop();
    } finally {
      gate.stop();
    }
  });

  it("a second server on the same data folder refuses with exit 73", async () => {
    const config = mockConfig(mock, { ok: "/ok" });
    const server = await startServer(config, { data });
    await assert.rejects(startServer(config, { data }), /"code":73/);
    await server.stop();
  });
});

describe("SIGTERM", () => {
  it("lets a running call finish and keeps what is queued for the next start", async () => {
    const config = mockConfig(mock, { slow: "/delay/700" }).replace("key: ", "concurrency: 2, key: ");
    let server = await startServer(config, { data });
    await server.ready();
    const direct = server.get(`/run/${ID}`, { method: "POST", body: JSON.stringify({ prompt: "nonce:dir" }) });
    const ids = await Promise.all(Array.from({ length: 6 }, (_, i) => submit(server, `nonce:term${i}x`)));
    await sleep(100);
    const ended = server.child.stop("SIGTERM");
    assert.match((await (await direct).json()).output, /nonce:dir/);
    assert.deepEqual(await ended, { code: 0, signal: null });
    server = await startServer(config, { data });
    const outputs = await Promise.all(ids.map((id) => finished(server, id)));
    outputs.forEach((o, i) => assert.match(o, new RegExp(`nonce:term${i}x`)));
    await server.stop();
  });
});
