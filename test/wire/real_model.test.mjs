// A real language model through the whole machine: official client, queue, worker, llama-server.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { createFalClient } from "@fal-ai/client";
import OpenAI from "openai";
import { cell } from "./cells.mjs";
import { collect } from "./common.mjs";
import { clients, make, startProxy } from "./fal_clients.mjs";
import { alive, anyllm, children, haveEngine, sleep, startServer, through } from "./server.mjs";

const ID = "fal-ai/any-llm";
const QUESTION = "What is the capital of France? Answer in one sentence.";
const LIBFAL = join(dirname(anyllm), "test/wire/libfal_calls");
const run = promisify(execFile);
const skip = haveEngine() ? false : "no llama-server or no model in the cache; `make demo` fetches both";
let server, fal;

const engineOf = (pid) =>
  children(pid).find((p) => readFileSync(`/proc/${p}/cmdline`, "utf8").includes("llama-server"));

async function gone(pid, ms = 5000) {
  for (const end = Date.now() + ms; Date.now() < end && alive(pid); ) await sleep(20);
  return !alive(pid);
}

describe("a real model", { skip }, () => {
  before(async () => {
    server = await startServer("log_level: debug\n");
    fal = createFalClient(through(server.base));
  });
  after(() => server?.stop());

  it("answers subscribe, and the logs are the model's own", async () => {
    const updates = [];
    const result = await fal.subscribe(ID, {
      input: { prompt: QUESTION, temperature: 0 },
      logs: true,
      pollInterval: 20,
      onQueueUpdate: (u) => updates.push(u),
    });
    assert.match(result.data.output, /Paris/);
    assert.ok(result.data.usage.completion_tokens > 0);
    assert.ok(updates.some((u) => u.status === "IN_PROGRESS" && u.logs.length > 0));
    const lines = updates.at(-1).logs.map((l) => l.message).join("\n");
    assert.match(lines, /first token/);
    assert.match(lines, /tokens per second/);
  });

  it("answers run and says that it is the local model", async () => {
    const r = await server.get(`/run/${ID}`, {
      method: "POST",
      body: JSON.stringify({ prompt: QUESTION, temperature: 0, model: "openai/gpt-4o" }),
    });
    assert.match((await r.json()).output, /Paris/);
    assert.equal(r.headers.get("x-anyllm-model"), "local/smollm2-135m-instruct");
    assert.equal(r.headers.get("x-anyllm-upstream"), "local");
  });

  it("streams token by token", async () => {
    const stream = await fal.stream(ID, { input: { prompt: "Count from one to ten.", max_tokens: 60, temperature: 0 } });
    let events = 0;
    for await (const e of stream) events += e.partial ? 1 : 0;
    assert.ok(events > 5);
    assert.equal((await stream.done()).partial, false);
  });

  it("streams to libfal, directly and as the status of a queued request", async () => {
    const input = JSON.stringify({ prompt: QUESTION, temperature: 0 });
    const libfal = async (call) => JSON.parse((await run(LIBFAL, [call, server.base, "", input])).stdout);
    const last = await libfal("stream");
    assert.match(last.output, /Paris/);
    assert.equal(last.partial, false);
    assert.match((await libfal("subscribe_streaming")).output, /Paris/);
  });

  for (const [id, kind] of Object.entries(clients))
    it(`answers every client: ${id}`, async () => {
      const proxy = kind.proxy && (await startProxy(kind.proxy, server.base));
      try {
        const any = make(kind, proxy?.base ?? server.base);
        const input = { prompt: QUESTION, temperature: 0 };
        assert.match((await any.subscribe(ID, { input, pollInterval: 20 })).data.output, /Paris/);
        const { events, last } = await collect(await any.stream(ID, { input }));
        assert.match(last.output, /Paris/);
        assert.ok(events.length > 3);
        cell(id, "real");
      } finally {
        await proxy?.stop();
      }
    });

  it("answers OpenAI's client", async () => {
    const openai = new OpenAI({ baseURL: `${server.base}/v1`, apiKey: "any:key" });
    const messages = [{ role: "user", content: QUESTION }];
    const body = { model: "local/smollm2-135m-instruct", messages, temperature: 0 };
    assert.match((await openai.chat.completions.create(body)).choices[0].message.content, /Paris/);
    let text = "";
    for await (const c of await openai.chat.completions.create({ ...body, stream: true })) text += c.choices[0]?.delta.content ?? "";
    assert.match(text, /Paris/);
    const listed = [];
    for await (const m of openai.models.list()) listed.push(m.id);
    assert.ok(listed.includes(body.model));
    cell("openai", "openai.real");
  });

  it("leaves no key on a command line", () => {
    const engine = engineOf(server.pid);
    assert.ok(engine);
    assert.doesNotMatch(readFileSync(`/proc/${engine}/cmdline`, "utf8"), /--api-key\0/);
  });

  it("comes back after kill -9 of the engine", async () => {
    const engine = engineOf(server.pid);
    process.kill(engine, "SIGKILL");
    assert.ok(await gone(engine));
    const r = await fal.subscribe(ID, { input: { prompt: QUESTION, temperature: 0 }, pollInterval: 50 });
    assert.match(r.data.output, /Paris/);
    assert.notEqual(engineOf(server.pid), engine);
  });

  it("leaves no engine behind after kill -9 of the server", async () => {
    await server.ready();
    const engine = engineOf(server.pid);
    await server.kill();
    assert.ok(await gone(engine));
  });
});
