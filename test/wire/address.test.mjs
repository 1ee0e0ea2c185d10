// The addresses in answers of the queue, and callers who name no host.
import { after, before, it } from "node:test";
import assert from "node:assert/strict";
import { connect } from "node:net";
import { mockConfig, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock;

before(async () => {
  mock = await startMock();
});

after(() => mock?.stop());

// HTTP/1.0, which needs no Host. Resolves with the whole answer.
const bare = (server, method, path, headers = "", body = "") =>
  new Promise((resolve, reject) => {
    let text = "";
    const s = connect(Number(new URL(server.base).port), "127.0.0.1");
    s.on("data", (d) => (text += d)).on("error", reject).on("close", () => resolve(text));
    s.write(`${method} ${path} HTTP/1.0\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`);
  });

const json = (answer) => JSON.parse(answer.split("\r\n\r\n")[1]);

async function stopped(server) {
  assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log());
  assert.doesNotMatch(server.log(), /runtime error|Sanitizer/);
}

it("without keys a caller who names no host gets 403", async () => {
  const server = await startServer(mockConfig(mock, { ok: "/ok" }));
  assert.match(await bare(server, "POST", `/queue/${ID}`, "", '{"prompt":"x"}'), /^HTTP\/1.1 403 /);
  assert.match(await bare(server, "GET", "/metrics"), /^HTTP\/1.1 403 /);
  await stopped(server);
});

it("with keys it gets addresses that are whole", async () => {
  const server = await startServer(mockConfig(mock, { ok: "/ok" }, "keys: [{ id: a, secret: b }]\n"));
  await server.ready();
  const s = json(await bare(server, "POST", `/queue/${ID}`, "Authorization: Key a:b\r\n", '{"prompt":"x"}'));
  assert.equal(new URL(s.status_url).hostname, "127.0.0.1");
  assert.equal(new URL(s.status_url).pathname, `/queue/${ID}/requests/${s.request_id}/status`);
  await stopped(server);
});

it("public_url is their beginning, with or without a slash at its end", async () => {
  const server = await startServer(mockConfig(mock, { ok: "/ok" }, "public_url: https://llm.example.org/base/\n"));
  await server.ready();
  const r = await server.get(`/queue/${ID}`, { method: "POST", body: '{"prompt":"x"}' });
  const s = await r.json();
  assert.equal(s.response_url, `https://llm.example.org/base/queue/${ID}/requests/${s.request_id}`);
  await stopped(server);
});
