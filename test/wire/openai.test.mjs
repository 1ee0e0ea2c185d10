// OpenAI's JavaScript client, its files untouched, against the real server with the mock upstream.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import OpenAI from "openai";
import { cell } from "./cells.mjs";
import { closes, nonce } from "./common.mjs";
import { startFront, startGate } from "./front.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

const KEY = "kid:ksecret";
let mock, watched, gate, server;

before(async () => {
  [mock, watched] = await Promise.all([startMock(), startMock()]);
  gate = await startGate(`${mock.url}/cost`);
  const upstreams = {
    ok: "/ok",
    slow: "/sse-interval/5",
    overloaded: "/status/503",
    breaks: "/error-in-stream/502",
    one: [gate.url, "concurrency: 1"],
    gate: gate.url,
    watched: `${watched.url}/silent`,
    endless: `${watched.url}/tokens/100000/sse-interval/20`,
  };
  server = await startServer(mockConfig(mock, upstreams, "keys: [{ id: kid, secret: ksecret }]\n"), { args: ["--grace", "1"] });
  await server.ready();
});

after(async () => {
  await server?.stop();
  gate?.stop();
  await Promise.all([mock?.stop(), watched?.stop()]);
});

// An application of OpenAI's: the address and the key are what it changes.
const client = (options) => new OpenAI({ baseURL: `${server.base}/v1`, apiKey: KEY, ...options });

const ask = (model = "test/ok", more = {}) => {
  const content = nonce();
  return { content, body: { model, messages: [{ role: "user", content }], ...more } };
};

// What arrives, retries and all.
async function refused(model, status, name) {
  const front = await startFront(server.base);
  try {
    const call = client({ baseURL: `${front.base}/v1` }).chat.completions.create(ask(model).body);
    await assert.rejects(call, (e) => (assert.equal(e.status, status), assert.equal(e.constructor.name, name), whole(e)));
    assert.equal(front.seen.length, 3);
    return "yes; repeats twice";
  } finally {
    front.stop();
  }
}

// OpenAI's shape: { error: { message, type, param, code } }; the client takes it apart.
function whole(e) {
  assert.ok(e.error.message && e.error.type, JSON.stringify(e.error));
  assert.ok(e.requestID);
  assert.ok("code" in e.error && "param" in e.error, JSON.stringify(e.error));
  return true;
}

async function chunks(stream) {
  const all = [];
  for await (const c of stream) all.push(c);
  return all;
}

const text = (all) => all.map((c) => c.choices[0]?.delta?.content ?? "").join("");

const cases = {
  async "openai.create"() {
    const { content, body } = ask("test/ok", { temperature: 0.5, max_tokens: 50 });
    const r = await client().chat.completions.create(body);
    assert.equal(r.object, "chat.completion");
    assert.ok(r.choices[0].message.content.startsWith(content));
    assert.equal(r.choices[0].finish_reason, "stop");
    assert.ok(r.usage.total_tokens > 0);
    assert.ok(r._request_id);
  },

  async "openai.router"() {
    const { content, body } = ask();
    const baseURL = `${server.base}/run/openrouter/router/openai/v1`;
    const fals = client({ baseURL, apiKey: "unused", defaultHeaders: { Authorization: `Key ${KEY}` } });
    assert.ok((await fals.chat.completions.create(body)).choices[0].message.content.startsWith(content));
    const all = await chunks(await fals.chat.completions.create({ ...body, stream: true }));
    assert.ok(text(all).startsWith(content));
  },

  async "openai.stream"() {
    const { content, body } = ask("test/slow", { stream: true });
    const all = await chunks(await client().chat.completions.create(body));
    assert.ok(all.length > 3);
    assert.ok(text(all).startsWith(content));
    assert.ok(all.every((c) => c.object === "chat.completion.chunk"));
    assert.equal(all.findLast((c) => c.choices.length > 0).choices[0].finish_reason, "stop");
    assert.ok(all.every((c) => !c.usage));
  },

  async "openai.stream.usage"() {
    const { body } = ask("test/slow", { stream: true, stream_options: { include_usage: true } });
    const all = await chunks(await client().chat.completions.create(body));
    assert.ok(all.at(-1).usage.total_tokens > 0);
    assert.deepEqual(all.at(-1).choices, []);
    assert.equal(all.filter((c) => c.usage).length, 1);
  },

  async "openai.members"() {
    const members = { top_p: 0.25, seed: 7, logit_bias: { 42: -1 }, x_of_tomorrow: { deep: [1, null, "ü"] } };
    const { content, body } = ask("test/gate", members);
    const r = await client().chat.completions.create(body);
    const sent = JSON.parse(gate.arrived.find((a) => a.prompt === content).body);
    for (const [name, value] of Object.entries(members)) assert.deepEqual(sent[name], value);
    assert.ok(r.usage.cost > 0);
  },

  async "openai.list"() {
    const all = [];
    for await (const m of client().models.list()) all.push(m);
    assert.ok(all.some((m) => m.id === "openai/gpt-4o"));
    assert.ok(all.every((m) => m.object === "model"));
  },

  async "openai.retrieve"() {
    assert.equal((await client().models.retrieve("openai/gpt-4o")).id, "openai/gpt-4o");
    await assert.rejects(client().models.retrieve("nobody/nothing"), (e) => e.status === 404 && whole(e));
  },

  async "openai.error.400"() {
    await assert.rejects(client().chat.completions.create({ model: "test/ok" }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError, `${e.constructor.name} ${e.message}`);
      return whole(e);
    });
  },

  async "openai.error.401"() {
    const call = client({ apiKey: "kid:wrong" }).chat.completions.create(ask().body);
    await assert.rejects(call, (e) => e instanceof OpenAI.AuthenticationError && whole(e));
  },

  async "openai.error.404"() {
    await assert.rejects(client().chat.completions.create(ask("nobody/nothing").body), (e) => {
      assert.ok(e instanceof OpenAI.NotFoundError, `${e.constructor.name} ${e.message}`);
      assert.equal(e.code, "model_not_found");
      return whole(e);
    });
  },

  async "openai.error.429"() {
    const { content, body } = ask("test/one");
    const { arrived, release } = gate.hold(content);
    const first = client().chat.completions.create(body);
    await arrived;
    const cell = await refused("test/one", 429, "RateLimitError");
    release();
    assert.ok((await first).choices[0].message.content.startsWith(content));
    return cell;
  },

  "openai.error.503": () => refused("test/overloaded", 503, "InternalServerError"),

  async "openai.error.stream"() {
    const stream = await client().chat.completions.create(ask("test/breaks", { stream: true }).body);
    const seen = [];
    const reading = async () => {
      for await (const c of stream) seen.push(c);
    };
    await assert.rejects(reading(), (e) => e instanceof OpenAI.APIError && e.message.length > 0);
    assert.ok(seen.length > 0);
  },

};

// These count at an upstream of their own, one after the other.
const alone = {
  async "openai.timeout"() {
    const call = client({ timeout: 1000, maxRetries: 0 }).chat.completions.create(ask("test/watched").body);
    const refused = assert.rejects(call, OpenAI.APIConnectionTimeoutError);
    await closes(watched, () => refused);
  },

  async "openai.abort"() {
    const stop = new AbortController();
    const call = client().chat.completions.create(ask("test/watched").body, { signal: stop.signal });
    await closes(watched, () => (stop.abort(), assert.rejects(call, OpenAI.APIUserAbortError)));
  },

  async "openai.abort.stream"() {
    const { body } = ask("test/endless", { stream: true });
    const stream = await client().chat.completions.create(body);
    await stream[Symbol.asyncIterator]().next();
    await closes(watched, () => stream.controller.abort());
  },
};

function each(table) {
  for (const [feature, run] of Object.entries(table))
    it(`${feature}: openai`, { timeout: 30000 }, async () => cell("openai", feature, (await run()) ?? "yes"));
}

describe("OpenAI's client", { concurrency: 16 }, () => each(cases));
describe("OpenAI's client, seen upstream", () => each(alone));
