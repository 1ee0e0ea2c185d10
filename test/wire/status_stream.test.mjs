// The status of a queued request as a stream: each change once, log lines once, COMPLETED last.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, server;

before(async () => {
  mock = await startMock();
  const keys = 'keys: [{ id: a, secret: b }, { id: c, secret: d }]\n';
  server = await startServer(
    mockConfig(mock, { words: ["/tokens/20/sse-interval/30", "concurrency: 1"], silent: "/silent" }, keys),
  );
  await server.ready();
});

after(async () => {
  const end = await server.stop();
  await mock.stop();
  assert.equal(end.code, 0, server.log());
  assert.doesNotMatch(server.log(), /runtime error|Sanitizer/);
});

const key = { authorization: "Key a:b" };
const submit = async (model, headers = {}) => {
  const r = await server.get(`/queue/${ID}`, {
    method: "POST",
    headers: { ...key, "content-type": "application/json", ...headers },
    body: JSON.stringify({ prompt: `p${Math.random()}`, model }),
  });
  assert.equal(r.status, 200);
  return r.json();
};
const cancel = (id) => server.get(`/queue/${ID}/requests/${id}/cancel`, { method: "PUT", headers: key });
const open = (id, query = "", headers = key, signal) =>
  server.get(`/queue/${ID}/requests/${id}/status/stream${query}`, { headers, signal });

// Events of a stream until it ends, as they come.
async function* events(response) {
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let at; (at = text.indexOf("\n\n")) >= 0; text = text.slice(at + 2)) {
      const block = text.slice(0, at);
      if (block.startsWith("data: ")) yield JSON.parse(block.slice(6));
      else assert.equal(block, ": ping");
    }
  }
  assert.equal(text, "");
}
const all = async (response) => {
  const list = [];
  for await (const e of events(response)) list.push(e);
  return list;
};

describe("status stream", { concurrency: false }, () => {
  it("tells each change once, each log line once, and ends with COMPLETED", async () => {
    const { request_id: id } = await submit("test/words");
    const response = await open(id, "?logs=1");
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type"), /^text\/event-stream/);
    assert.equal(response.headers.get("x-fal-request-id"), id);
    assert.equal(response.headers.get("x-accel-buffering"), "no");
    const list = await all(response);
    const last = list.at(-1);
    assert.equal(last.status, "COMPLETED");
    assert.equal(last.request_id, id);
    assert.equal(list.filter((e) => e.status === "COMPLETED").length, 1);
    const told = list.flatMap((e) => e.logs.map((l) => `${l.timestamp} ${l.message}`));
    const whole = await (await server.get(`/queue/${ID}/requests/${id}/status?logs=1`, { headers: key })).json();
    assert.deepEqual(told, whole.logs.map((l) => `${l.timestamp} ${l.message}`));
    assert.ok(told.length >= 3);
    const order = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"];
    list.reduce((a, e) => (assert.ok(order.indexOf(e.status) >= order.indexOf(a)), e.status), "IN_QUEUE");
  });

  it("of one that is done has one event", async () => {
    const { request_id: id } = await submit("test/words");
    await all(await open(id));
    const list = await all(await open(id, "?logs=true"));
    assert.equal(list.length, 1);
    assert.equal(list[0].status, "COMPLETED");
    assert.ok(list[0].logs.length >= 3);
    assert.equal((await all(await open(id)))[0].logs, null);
  });

  it("of a running one ends when it is cancelled", async () => {
    const running = await submit("test/silent");
    const response = await open(running.request_id);
    const seen = [];
    for await (const e of events(response)) {
      seen.push(e.status);
      if (e.status === "IN_PROGRESS" && seen.filter((s) => s === "IN_PROGRESS").length === 1)
        assert.equal((await cancel(running.request_id)).status, 202);
    }
    assert.equal(seen.at(-1), "COMPLETED");
  });

  it("is another owner's 404, and an unknown id's", async () => {
    const { request_id: id } = await submit("test/words");
    const foreign = await open(id, "", { authorization: "Key c:d" });
    const unknown = await open("00000000-0000-4000-8000-000000000000");
    assert.equal(foreign.status, 404);
    assert.equal(unknown.status, 404);
    assert.deepEqual(await foreign.json(), await unknown.json());
    assert.equal((await open(id, "?logs=2")).status, 422);
    assert.equal((await server.get(`/queue/${ID}/requests/${id}/status/stream`, { method: "POST", headers: key })).status, 405);
  });

  it("that its reader leaves cancels nothing", async () => {
    const { request_id: id } = await submit("test/words");
    const gone = new AbortController();
    const response = await open(id, "?logs=1", key, gone.signal);
    for await (const _ of events(response)) break;
    gone.abort();
    assert.equal((await all(await open(id))).at(-1).status, "COMPLETED");
    assert.equal((await server.get(`/queue/${ID}/requests/${id}`, { headers: key })).status, 200);
  });

  it("that nobody reads holds nothing up", async () => {
    const { request_id: id } = await submit("test/words");
    const s = connect(Number(new URL(server.base).port), "127.0.0.1");
    s.pause();
    s.write(`GET /queue/${ID}/requests/${id}/status/stream?logs=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Key a:b\r\n\r\n`);
    assert.equal((await all(await open(id))).at(-1).status, "COMPLETED");
    s.destroy();
  });

  it("a request that could not begin in time ends with 504 and the user's mark", async () => {
    const first = await submit("test/words");
    const late = await submit("test/words", { "x-fal-request-timeout": "0.1" });
    const last = (await all(await open(late.request_id))).at(-1);
    assert.equal(last.status, "COMPLETED");
    assert.equal(last.error_type, "request_timeout");
    const r = await server.get(`/queue/${ID}/requests/${late.request_id}`, { headers: key });
    assert.equal(r.status, 504);
    assert.equal(r.headers.get("x-fal-request-timeout-type"), "user");
    assert.equal(r.headers.get("x-fal-error-type"), "request_timeout");
    assert.equal((await all(await open(first.request_id))).at(-1).status, "COMPLETED");
  });
});

it("a server that ends closes its status streams with the status", async () => {
  const own = await startServer(mockConfig(mock, { silent: ["/silent", "concurrency: 1"] }), { args: ["--grace", "1"] });
  await own.ready();
  const r = await own.get(`/queue/${ID}`, { method: "POST", body: '{"prompt":"x"}' });
  const { request_id: id } = await r.json();
  const response = await own.get(`/queue/${ID}/requests/${id}/status/stream`);
  const list = [];
  for await (const e of events(response)) {
    list.push(e.status);
    if (list.at(-1) === "IN_PROGRESS" && list.length < 3) own.child.process.kill("SIGTERM");
  }
  assert.equal(list.at(-1), "IN_PROGRESS");
  assert.equal((await own.stop()).code, 0, own.log());
});

it("tells the position each time it falls, and never lets it rise", async () => {
  const own = await startServer(mockConfig(mock, { words: ["/tokens/10/sse-interval/60", "concurrency: 1"] }));
  await own.ready();
  const ids = [];
  for (let i = 0; i < 4; i++) {
    const r = await own.get(`/queue/${ID}`, { method: "POST", body: JSON.stringify({ prompt: `p${i}` }) });
    ids.push((await r.json()).request_id);
  }
  const list = await all(await own.get(`/queue/${ID}/requests/${ids.at(-1)}/status/stream`));
  const positions = list.filter((e) => e.status === "IN_QUEUE").map((e) => e.queue_position);
  assert.deepEqual(positions, [...new Set(positions)].sort((a, b) => b - a));
  assert.ok(positions.length >= 2, `positions ${positions}`);
  assert.equal(list.at(-1).status, "COMPLETED");
  assert.equal((await own.stop()).code, 0, own.log());
});

it("a start timeout covers connecting to an upstream that says nothing", async () => {
  const deaf = createServer(() => {}).listen(0, "127.0.0.1");
  await once(deaf, "listening");
  const own = await startServer(mockConfig(mock, { deaf: `https://127.0.0.1:${deaf.address().port}` }));
  await own.ready();
  const headers = { "x-fal-request-timeout": "0.2" };
  const body = '{"prompt":"x","model":"test/deaf"}';
  const direct = await own.get(`/run/${ID}`, { method: "POST", headers, body });
  assert.equal(direct.status, 504);
  assert.equal(direct.headers.get("x-fal-request-timeout-type"), "user");
  const { request_id: id } = await (await own.get(`/queue/${ID}`, { method: "POST", headers, body })).json();
  assert.equal((await all(await own.get(`/queue/${ID}/requests/${id}/status/stream`))).at(-1).error_type, "request_timeout");
  deaf.close();
  assert.equal((await own.stop()).code, 0, own.log());
});
