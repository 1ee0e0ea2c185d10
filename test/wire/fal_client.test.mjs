// fal's official JavaScript client, its files untouched, against the real server with the mock upstream.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { createFalClient } from "@fal-ai/client";
import { mockConfig, sleep, startMock, startServer, through } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, server, fal;

before(async () => {
  mock = await startMock();
  server = await startServer(
    mockConfig(mock, {
      ok: "/ok",
      slow: "/sse-interval/10",
      late: "/delay/1500",
      silent: "/silent",
      broken: "/status/400",
      cut: "/cut/700",
      smile: "/surrogate-split",
    }),
  );
  await server.ready();
  fal = createFalClient(through(server.base));
});

after(async () => {
  await server?.stop();
  await mock?.stop();
});

describe("the four examples of fal's page", () => {
  it("subscribe with logs and onQueueUpdate shows IN_PROGRESS with a log line", async () => {
    const updates = [];
    let enqueued;
    const result = await fal.subscribe(ID, {
      input: { prompt: "What is the meaning of life? nonce:sub1", model: "test/late" },
      logs: true,
      pollInterval: 50,
      onEnqueue: (id) => (enqueued = id),
      onQueueUpdate: (update) => updates.push(update),
    });
    assert.match(result.data.output, /nonce:sub1/);
    assert.equal(result.data.partial, false);
    assert.equal(result.data.error, null);
    assert.equal(result.requestId, enqueued);
    const running = updates.filter((u) => u.status === "IN_PROGRESS" && u.logs.length > 0);
    assert.ok(running.length > 0, "no IN_PROGRESS update with a log line");
    assert.ok(running[0].logs.every((l) => l.message && l.timestamp && l.level && l.source === "USER"));
    assert.equal(updates.at(-1).status, "COMPLETED");
  });

  it("queue.submit answers with every field a client reads", async () => {
    const s = await fal.queue.submit(ID, { input: { prompt: "hello" } });
    assert.equal(s.status, "IN_QUEUE");
    assert.match(s.request_id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const at = `${server.base}/queue/${ID}/requests/${s.request_id}`;
    assert.deepEqual([s.response_url, s.status_url, s.cancel_url], [at, `${at}/status`, `${at}/cancel`]);
    assert.equal(s.logs, null);
    assert.deepEqual(s.metrics, {});
    assert.equal(s.queue_position, 0);
  });

  it("queue.status with logs, then queue.result", async () => {
    const { request_id: requestId } = await fal.queue.submit(ID, { input: { prompt: "nonce:st1" } });
    let status;
    do {
      await sleep(20);
      status = await fal.queue.status(ID, { requestId, logs: true });
    } while (status.status !== "COMPLETED");
    assert.ok(status.logs.length > 0);
    assert.equal(typeof status.metrics.inference_time, "number");
    const result = await fal.queue.result(ID, { requestId });
    assert.match(result.data.output, /nonce:st1/);
    assert.equal(result.requestId, requestId);
  });
});

describe("run and stream", () => {
  it("run answers with output and usage", async () => {
    const r = await fal.run(ID, { input: { prompt: "nonce:run1", system_prompt: "be brief", temperature: 0.5 } });
    assert.match(r.data.output, /nonce:run1/);
    assert.ok(r.data.usage.total_tokens > 0);
    assert.notEqual(r.requestId, "");
  });

  it("run names the upstream and the model, never an address", async () => {
    const r = await server.get(`/run/${ID}`, {
      method: "POST",
      body: JSON.stringify({ prompt: "x", model: "test/ok" }),
    });
    assert.equal(r.headers.get("x-anyllm-upstream"), "ok");
    assert.equal(r.headers.get("x-anyllm-model"), "test/ok");
    for (const [, v] of r.headers) assert.ok(!v.includes(mock.url.slice(7)));
  });

  it("stream gives a growing output and ends whole", async () => {
    const stream = await fal.stream(ID, { input: { prompt: "nonce:str1", model: "test/slow" } });
    const seen = [];
    for await (const event of stream) seen.push(event);
    const done = await stream.done();
    assert.ok(seen.length > 2);
    for (let i = 1; i < seen.length; i++) assert.ok(seen[i].output.startsWith(seen[i - 1].output));
    assert.ok(seen.slice(0, -1).every((e) => e.partial === true));
    assert.equal(done.partial, false);
    assert.match(done.output, /nonce:str1/);
  });

  it("characters outside ASCII arrive whole, however the upstream cuts them", async () => {
    const stream = await fal.stream(ID, { input: { prompt: "x", model: "test/smile" } });
    for await (const event of stream) assert.doesNotMatch(event.output, /\ufffd/);
    assert.match((await stream.done()).output, /😀.*😀.*é/s);
  });

  it("a stream that is cut upstream never looks finished", async () => {
    const stream = await fal.stream(ID, { input: { prompt: "x", model: "test/cut" } });
    const seen = [];
    stream.on("data", (e) => seen.push(e));
    await assert.rejects(stream.done());
    assert.equal(seen.at(-1).partial, true);
    assert.equal(typeof seen.at(-1).error, "string");
  });

  it("a caller who leaves closes the upstream call at once", async () => {
    await mock.reset();
    const stop = new AbortController();
    const call = fetch(`${server.base}/run/${ID}`, {
      method: "POST",
      body: JSON.stringify({ prompt: "x", model: "test/silent" }),
      signal: stop.signal,
    });
    while ((await mock.stats()).open < 1) await sleep(10);
    stop.abort();
    await assert.rejects(call);
    const end = Date.now() + 2000;
    let stats;
    do {
      await sleep(10);
      stats = await mock.stats();
    } while (stats.aborted < 1 && Date.now() < end);
    assert.equal(stats.aborted, 1);
  });
});

describe("errors as the client sees them", () => {
  it("a missing prompt is a ValidationError at once on run", async () => {
    await assert.rejects(fal.run(ID, { input: {} }), (e) => {
      assert.equal(e.name, "ValidationError");
      assert.equal(e.status, 422);
      assert.equal(e.getFieldErrors("prompt")[0].type, "missing");
      return true;
    });
  });

  it("submit accepts a wrong field, the result replays the 422", async () => {
    const { request_id: requestId } = await fal.queue.submit(ID, { input: { prompt: 1, temperature: 3 } });
    const status = await fal.queue.subscribeToStatus(ID, { requestId, pollInterval: 20 });
    assert.equal(status.status, "COMPLETED");
    assert.ok(status.error);
    await assert.rejects(fal.queue.result(ID, { requestId }), (e) => {
      assert.equal(e.status, 422);
      assert.deepEqual(
        e.fieldErrors.map((f) => [f.loc.join("."), f.type]),
        [["body.prompt", "string_type"], ["body.temperature", "less_than_equal"]],
      );
      return true;
    });
  });

  it("the upstream's 400 becomes 422 with its message", async () => {
    await assert.rejects(fal.run(ID, { input: { prompt: "x", model: "test/broken" } }), (e) => e.status === 422);
  });

  it("cancel of a running request ends it and closes the upstream call", async () => {
    const { request_id: requestId } = await fal.queue.submit(ID, { input: { prompt: "x", model: "test/silent" } });
    let status;
    do {
      await sleep(20);
      status = await fal.queue.status(ID, { requestId, logs: true });
    } while (status.status === "IN_QUEUE");
    await fal.queue.cancel(ID, { requestId });
    const ended = await fal.queue.subscribeToStatus(ID, { requestId, pollInterval: 20 });
    assert.equal(ended.error_type, "client_cancelled");
    await assert.rejects(fal.queue.result(ID, { requestId }), (e) => e.status === 499);
    await assert.rejects(fal.queue.cancel(ID, { requestId }), (e) => e.status === 400);
  });

  it("an unknown request id is 404", async () => {
    const requestId = "00000000-0000-4000-8000-000000000000";
    await assert.rejects(fal.queue.status(ID, { requestId }), (e) => e.status === 404);
    await assert.rejects(fal.queue.result(ID, { requestId }), (e) => e.status === 404);
    await assert.rejects(fal.queue.cancel(ID, { requestId }), (e) => e.status === 404);
  });

  it("the result of an unfinished request is 400", async () => {
    const { request_id: requestId } = await fal.queue.submit(ID, { input: { prompt: "x", model: "test/silent" } });
    await assert.rejects(fal.queue.result(ID, { requestId }), (e) => e.status === 400);
    await fal.queue.cancel(ID, { requestId });
  });
});
