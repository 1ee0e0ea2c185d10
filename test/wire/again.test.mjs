// Idempotency-Key through fal's own JavaScript client, and through a browser's preflight.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { createFalClient } from "@fal-ai/client";
import { mockConfig, startMock, startServer, through } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, server, fal;

before(async () => {
  mock = await startMock();
  server = await startServer(mockConfig(mock, { ok: "/ok" }));
  await server.ready();
  fal = createFalClient(through(server.base));
});

after(async () => {
  await server?.stop();
  await mock?.stop();
});

const submit = (key, prompt, more) =>
  fal.queue.submit(ID, { input: { prompt }, headers: { "Idempotency-Key": key }, ...more });

describe("a submit that comes again", () => {
  it("is one request, however many copies come at once, and its result is there for each", async () => {
    const prompt = "nonce:order-1";
    const copies = await Promise.all(Array.from({ length: 20 }, () => submit("order-1", prompt)));
    const requestId = copies[0].request_id;
    for (const c of copies) assert.equal(c.request_id, requestId);
    await fal.queue.subscribeToStatus(ID, { requestId, pollInterval: 20 });
    const late = await submit("order-1", prompt);
    assert.equal(late.request_id, requestId);
    assert.equal(late.status, "COMPLETED");
    assert.equal(late.response_url, copies[0].response_url);
    assert.match((await fal.queue.result(ID, { requestId: late.request_id })).data.output, /nonce:order-1/);
    assert.equal((await mock.stats()).calls_by_prompt[prompt], 1);
  });

  it("with another input or another webhook is a ValidationError", async () => {
    await submit("order-2", "one");
    for (const again of [submit("order-2", "two"), submit("order-2", "one", { webhookUrl: "https://example.org/hook" })]) {
      const error = await again.then(() => assert.fail("taken"), (e) => e);
      assert.equal(error.name, "ValidationError");
      assert.equal(error.status, 422);
      assert.deepEqual(error.body.detail[0].loc, ["header", "idempotency-key"]);
    }
  });

  it("may be sent, and its answer read, by a web page", async () => {
    const headers = { origin: "http://localhost:3000" };
    const preflight = await fetch(`${server.base}/queue/${ID}`, {
      method: "OPTIONS",
      headers: { ...headers, "access-control-request-method": "POST", "access-control-request-headers": "idempotency-key" },
    });
    assert.match(preflight.headers.get("access-control-allow-headers"), /\bidempotency-key\b/);
    const ask = () =>
      fetch(`${server.base}/queue/${ID}`, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json", "idempotency-key": "page" },
        body: '{"prompt":"x"}',
      });
    assert.equal((await ask()).headers.get("idempotent-replayed"), null);
    const again = await ask();
    assert.equal(again.headers.get("idempotent-replayed"), "true");
    assert.match(again.headers.get("access-control-expose-headers"), /\bidempotent-replayed\b/);
  });
});
