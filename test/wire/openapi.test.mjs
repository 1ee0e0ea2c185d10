// Each endpoint's OpenAPI document is one, and true: what the server answers and refuses is what the document says. The
// snippets of each llms.txt run.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Ajv from "ajv";
import addFormats from "ajv-formats";
import { Validator } from "@seriousme/openapi-schema-validator";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const OPENAI = "openrouter/router/openai/v1/chat/completions";
const FAL = [
  "fal-ai/any-llm",
  "fal-ai/any-llm/vision",
  "fal-ai/any-llm/enterprise",
  "openrouter/router",
  "openrouter/router/vision",
  "openrouter/router/enterprise",
  "openrouter/router/audio",
  "openrouter/router/video",
  "openrouter/router/video/enterprise",
];
const CONFIG = `keys: [{ id: kid, secret: ksecret }]
endpoint_aliases: { workflows/me/chat: fal-ai/any-llm }
`;
const KEY = { authorization: "Key kid:ksecret" };
const python = new URL("../../.deps/venv/bin/python", import.meta.url).pathname;
let mock, server, folder;

before(async () => {
  mock = await startMock();
  folder = mkdtempSync(join(tmpdir(), "anyllm-openapi-"));
  symlinkSync(new URL("node_modules", import.meta.url).pathname, join(folder, "node_modules"));
  server = await startServer(mockConfig(mock, { ok: "/ok", broken: "/html" }, CONFIG).replaceAll("key: up", "keeps_nothing: true, key: up"));
  await server.ready();
});

after(async () => {
  const ended = await server?.stop();
  await mock?.stop();
  rmSync(folder, { recursive: true, force: true });
  assert.deepEqual(ended, { code: 0, signal: null }, server.log());
  assert.doesNotMatch(server.log(), /runtime error|Sanitizer/);
});

const openapi = (id) => server.get(`/api/openapi/queue/openapi.json?endpoint_id=${encodeURIComponent(id)}`);

// The document, and `check(name, value)` which fails where the value is not what the schema of that name says.
async function documented(id) {
  const document = await (await openapi(id)).json();
  const ajv = addFormats(new Ajv({ strict: false, allErrors: true }));
  ajv.addSchema(document, "document");
  const validator = (name) => ajv.compile({ $ref: `document#/components/schemas/${name}` });
  const [input, output] = Object.keys(document.components.schemas);
  const check = (name, value) => {
    const valid = validator(name);
    assert.ok(valid(value), `${id}: ${name}: ${JSON.stringify(valid.errors)} in ${JSON.stringify(value)}`);
  };
  const post = document.paths[`/${id}`].post;
  const example = post.requestBody.content["application/json"].example;
  return { document, check, example, input, output, takes: validator(input) };
}

const send = (path, body) => server.get(path, { method: "POST", headers: KEY, body: JSON.stringify(body) });

describe("the documents", () => {
  for (const id of [...FAL, OPENAI, "workflows/me/chat"])
    it(`of ${id} is valid OpenAPI 3.0`, async () => {
      const r = await openapi(id);
      assert.equal(r.status, 200);
      assert.equal(r.headers.get("content-type"), "application/json");
      const document = await r.json();
      const validator = new Validator();
      const verdict = await validator.validate(structuredClone(document));
      assert.ok(verdict.valid, JSON.stringify(verdict.errors));
      assert.equal(validator.version, "3.0");
      assert.equal(document.openapi, "3.0.4");
      assert.equal(document.info["x-fal-metadata"].endpointId, id);
      assert.equal(document.servers[0].url, `${server.base}/queue`);
      assert.equal((await fetch(document.info["x-fal-metadata"].documentationUrl)).status, 200);
    });

  it("of what is not there is null", async () => {
    for (const id of ["fal-ai/flux/dev", "fal-ai/any-llm/nothing", "", "workflows/me/other"]) {
      const r = await openapi(id);
      assert.equal(r.status, 404);
      assert.equal(await r.text(), "null");
    }
    assert.equal((await server.get("/models/fal-ai/flux/llms.txt")).status, 404);
  });
});

// Submits and waits; the address of the request that is done.
async function completed(address, body, check) {
  const submitted = await send(address, body);
  assert.equal(submitted.status, 200, await submitted.clone().text());
  const status = await submitted.json();
  check("QueueStatus", status);
  const at = `${address}/requests/${status.request_id}`;
  for (;;) {
    const r = await server.get(`${at}/status?logs=1`, { headers: KEY });
    const now = await r.json();
    check("QueueStatus", now);
    assert.equal(r.status, now.status === "COMPLETED" ? 200 : 202);
    if (r.status === 200) return at;
    await sleep(10);
  }
}

describe("what the documents say is so", () => {
  for (const id of [...FAL, OPENAI, "workflows/me/chat"])
    it(`of the queue of ${id}`, async () => {
      const { document, check, example, input, output } = await documented(id);
      const base = document.servers[0].url.slice(server.base.length);
      check(input, example);
      const at = await completed(`${base}/${id}`, example, check);
      const result = await server.get(at, { headers: KEY });
      const data = await result.json();
      assert.equal(result.status, 200, JSON.stringify(data));
      check(output, data);
      const { properties } = document.components.schemas[output];
      const known = Object.keys(properties ?? data);
      for (const name of Object.keys(data)) assert.ok(known.includes(name), `${name} is not documented`);
      const late = await server.get(`${at}/cancel`, { method: "PUT", headers: KEY });
      assert.equal(late.status, 400);
      check("QueueAnswer", await late.json());
    });

  it("of faults", async () => {
    const { check } = await documented("fal-ai/any-llm");
    const invalid = await send("/run/fal-ai/any-llm", { temperature: 9 });
    assert.equal(invalid.status, 422);
    check("ValidationErrors", await invalid.json());
    const refused = await server.get("/queue/fal-ai/any-llm", { method: "POST", body: "{}" });
    assert.equal(refused.status, 401);
    check("Error", await refused.json());
    const unknown = await server.get(`/queue/fal-ai/any-llm/requests/${crypto.randomUUID()}`, { headers: KEY });
    assert.equal(unknown.status, 404);
    check("QueueAnswer", await unknown.json());
  });

  it("of what fails in the queue", async () => {
    for (const [id, change, status] of [
      ["fal-ai/any-llm", { temperature: 9 }, 422],
      ["fal-ai/any-llm", { model: "test/broken" }, 502],
      [OPENAI, { messages: 7 }, 400],
      [OPENAI, { model: "test/broken" }, 502],
    ]) {
      const { check, example } = await documented(id);
      const at = await completed(`/queue/${id}`, { ...example, ...change }, check);
      const result = await server.get(at, { headers: KEY });
      assert.equal(result.status, status);
      const failure = await result.json();
      check("Failure", failure);
      if (status === 422) check("ValidationErrors", failure);
    }
  });

  // Each of these is put over the example; schema and server agree on every one, for every endpoint.
  const inputs = [
    {},
    { prompt: "" },
    { prompt: 1 },
    { prompt: undefined },
    { model: "google/gemini-2.5-flash" },
    { model: 7 },
    { model: undefined },
    { system_prompt: ["x"] },
    { reasoning: true },
    { reasoning: "yes" },
    { temperature: 0 },
    { temperature: 2 },
    { temperature: 2.01 },
    { temperature: -0.01 },
    { temperature: "1" },
    { max_tokens: 1 },
    { max_tokens: 0 },
    { max_tokens: 1.5 },
    { max_tokens: 1000000 },
    { max_tokens: 1000001 },
    { priority: "throughput" },
    { priority: "fast" },
    { image_url: "https://example.org/a.png" },
    { image_url: 7 },
    { image_urls: "https://example.org/a.png" },
    { image_urls: undefined },
    { image_urls: Array(64).fill("https://example.org/a.png") },
    { image_urls: Array(65).fill("https://example.org/a.png") },
    { audio_url: undefined },
    { audio_url: ["https://example.org/a.mp3"] },
    { video_url: "https://example.org/a.mp4" },
    { video_url: "https://example.org/a.mp4", video_urls: undefined },
    { video_urls: ["https://example.org/a.mp4", 7] },
    { messages: 7, api_base: "http://127.0.0.1:1" },
  ];
  for (const id of FAL)
    it(`of the inputs of ${id}`, async () => {
      const { example, takes } = await documented(id);
      for (const change of inputs) {
        const body = JSON.parse(JSON.stringify({ ...example, ...change }));
        const r = await send(`/run/${id}`, body);
        const text = await r.text();
        assert.equal(r.status, takes(body) ? 200 : 422, `${JSON.stringify(body).slice(0, 200)}: ${text.slice(0, 300)}`);
      }
    });
});

const run = (program, args, env = {}) =>
  new Promise((resolve) =>
    execFile(
      program,
      args,
      { cwd: folder, env: { PATH: process.env.PATH, FAL_KEY: "kid:ksecret", ...env }, timeout: 60000 },
      (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, stdout, stderr }),
    ),
  );

async function ran(program, args, env) {
  const r = await run(program, args, env);
  assert.equal(r.code, 0, `${r.stdout}${r.stderr}`);
  return r.stdout;
}

const blocks = (text, language) =>
  text
    .split(/^```/m)
    .filter((block) => block.startsWith(`${language}\n`))
    .map((block) => block.slice(language.length + 1));

describe("llms.txt", () => {
  const page = async (id) => {
    const r = await server.get(`/models/${id}/llms.txt`);
    assert.equal(r.status, 200);
    assert.equal(r.headers.get("content-type"), "text/plain; charset=utf-8");
    return r.text();
  };
  // What every language of a page prints is the mock's answer.
  const answer = async (id) => (await (await send(`/run/${id}`, (await documented(id)).example)).json()).output;

  for (const id of [...FAL, OPENAI, "workflows/me/chat"])
    it(`of ${id} has snippets for a shell that run`, async (t) => {
      if ((await run("curl", ["--version"])).code !== 0) return t.skip("curl is not installed");
      const shell = blocks(await page(id), "bash");
      assert.equal(shell.length, id === OPENAI ? 1 : 3);
      const [direct, stream, queue] = await Promise.all(shell.map((text) => ran("sh", ["-euc", text])));
      if (id === OPENAI) {
        assert.ok(JSON.parse(direct).choices[0].message.content.length > 0);
        return;
      }
      const output = await answer(id);
      assert.equal(JSON.parse(direct).output, output);
      const events = [...stream.matchAll(/^data: (.*)$/gm)].map((m) => JSON.parse(m[1]));
      assert.equal(events.at(-1).output, output);
      assert.equal(events.at(-1).partial, false);
      assert.equal(JSON.parse(queue.slice(queue.lastIndexOf('{"output"'))).output, output);
    });

  for (const id of ["fal-ai/any-llm", "openrouter/router/video", "workflows/me/chat", OPENAI])
    it(`of ${id} has a snippet for JavaScript that runs`, async () => {
      const [text] = blocks(await page(id), "js");
      const file = join(folder, `${id.replaceAll("/", "-")}.mjs`);
      writeFileSync(file, text);
      const expected = await answer(id === OPENAI ? "fal-ai/any-llm" : id);
      assert.equal((await ran(process.execPath, [file])).trimEnd(), expected.trimEnd());
    });

  for (const id of ["fal-ai/any-llm", "openrouter/router/video", "workflows/me/chat", OPENAI])
    it(`of ${id} has a snippet for Python that runs`, async (t) => {
      if (!existsSync(python)) return t.skip("the Python clients are not installed");
      const [text] = blocks(await page(id), "python");
      const expected = await answer(id === OPENAI ? "fal-ai/any-llm" : id);
      assert.equal((await ran(python, ["-c", text])).trimEnd(), expected.trimEnd());
    });
});
