// Answers larger than what is kept: refused as a whole, never cut.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { clients, make } from "./fal_clients.mjs";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, server;

before(async () => {
  mock = await startMock();
  // 5 letters a word.
  server = await startServer(mockConfig(mock, { large: "/tokens/2500000", whole: "/bigline/12000000" }));
  await server.ready();
});

after(async () => {
  await server?.stop();
  await mock?.stop();
});

const post = (path, model = "test/large") =>
  server.get(path, { method: "POST", body: JSON.stringify({ prompt: "x", max_tokens: 1000000, model }) });

describe("an answer of 12 MB", () => {
  it("fails in the queue as result_too_large", async () => {
    const { request_id: id } = await (await post(`/queue/${ID}`)).json();
    const at = `/queue/${ID}/requests/${id}`;
    let status;
    do {
      await sleep(100);
      status = await (await server.get(`${at}/status`)).json();
    } while (status.status !== "COMPLETED");
    assert.equal(status.error_type, "result_too_large", (await (await server.get(at)).text()).slice(0, 300));
    const result = await server.get(at);
    assert.equal(result.status, 500);
    assert.equal((await result.json()).error_type, "result_too_large");
  });

  it("is whole in a direct call", async () => {
    const r = await post(`/run/${ID}`, "test/whole");
    assert.equal(r.status, 200);
    assert.ok((await r.json()).output.length > 10 << 20);
  });
});

describe("a body of 40 MB", () => {
  for (const id of ["client", "client-1.0", "serverless-client"])
    it(`is 413 to a client that is still sending it, and sent once: ${id}`, async () => {
      let sent = 0;
      const fal = make(clients[id], server.base, { fetch: (url, init) => (sent++, fetch(url, init)) });
      const input = { prompt: "x".repeat(40 << 20) };
      await assert.rejects(fal.run(ID, { input }), { status: 413 });
      await assert.rejects(fal.queue.submit(ID, { input }), { status: 413 });
      assert.equal(sent, 2);
    });
});
