// Secrets stay where they belong: with every kind of key planted, a round over all surfaces, and then nothing of them in
// logs at their loudest, answers, metrics, files of the data folder or the process's arguments.
import { after, before, it } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
const CANARY = {
  caller: "canary-caller-Zk4vB8qW",
  wrong: "canary-wrong-Qm7tR2xL",
  query: "canary-query-Lw3nC9pD",
  guest: "canary-guest-Hv6yJ1sK",
  fal: "canary-fal-Td5fG0aE",
};
let mock, server;
const answers = [];

before(async () => {
  mock = await startMock();
  // the upstreams' keys are upstream-key-NAME
  const more =
    `keys: [{ id: app, secret: "\${CANARY_CALLER}" }, { id: web, secret: "\${CANARY_GUEST}" }]\n` +
    'proxy: { key: web, forward: true, fal_key: "${CANARY_FAL}", forward_to: "http://127.0.0.1:1" }\n';
  const upstreams = { ok: "/ok", echo: "/echo-auth", broken: "/html", cut: "/cut/e2", refused: "http://127.0.0.1:1" };
  server = await startServer(mockConfig(mock, upstreams, more), {
    env: { CANARY_CALLER: CANARY.caller, CANARY_GUEST: CANARY.guest, CANARY_FAL: CANARY.fal },
    args: ["--log-level", "trace"],
  });
  await server.ready();
});

after(async () => {
  await mock.stop();
});

const ask = async (path, { key = `Key app:${CANARY.caller}`, method = "POST", body, headers = {} } = {}) => {
  const r = await server.get(path, {
    method,
    headers: { ...(key && { authorization: key }), "content-type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const text = await r.text().catch(() => "(cut)");
  answers.push(`${path.replace(/[?].*/, "")} ${r.status} ${JSON.stringify([...r.headers])} ${text}`);
  return { status: r.status, text };
};

const everywhere = async () => {
  for (const name of ["ok", "echo", "broken", "cut", "refused"]) {
    const model = `test/${name}`;
    const chat = { model, messages: [{ role: "user", content: "hi" }] };
    await ask(`/run/${ID}`, { body: { prompt: "x", model } });
    await ask(`/run/${ID}/stream`, { body: { prompt: "x", model } });
    await ask("/v1/chat/completions", { body: chat, key: `Bearer app:${CANARY.caller}` });
    await ask("/v1/chat/completions", { body: { ...chat, stream: true } });
    const { text } = await ask(`/queue/${ID}`, { body: { prompt: "x", model }, headers: { "x-fal-no-retry": "1" } });
    const { request_id: id } = JSON.parse(text);
    for (let i = 0; i < 200; i++) {
      if ((await ask(`/queue/${ID}/requests/${id}/status?logs=1`, { method: "GET" })).status === 200) break;
      await sleep(20);
    }
    await ask(`/queue/${ID}/requests/${id}`, { method: "GET" });
    await ask(`/queue/${ID}/requests/${id}/status/stream?logs=1`, { method: "GET" });
    await ask(`/queue/${ID}/requests/${id}/cancel`, { method: "PUT" });
  }
};

it("no key is in logs, answers, metrics, files or arguments", async () => {
  await everywhere();
  for (const key of [`Key app:${CANARY.wrong}`, `Key ${CANARY.wrong}`, `Basic ${CANARY.wrong}`, `Bearer ${CANARY.wrong}`]) {
    assert.equal((await ask(`/run/${ID}`, { key, body: { prompt: "x" } })).status, 401);
    await ask("/v1/models", { key, method: "GET" });
  }
  assert.equal((await ask(`/run/${ID}?key=${CANARY.query}`, { key: "", body: { prompt: "x" } })).status, 401);
  const target = { "x-fal-target-url": `https://fal.run/${ID}` };
  await ask("/api/fal/proxy", { key: "", headers: target, body: { prompt: "x" } });
  await ask("/api/fal/proxy", { headers: target, body: { prompt: "x" } });
  await ask("/metrics", { method: "GET" });

  const places = { log: server.log(), answers: answers.join("\n"), arguments: readFileSync(`/proc/${server.pid}/cmdline`, "latin1") };
  const walk = (folder) => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) walk(path);
      else if (statSync(path).isFile()) places[path] = readFileSync(path, "latin1");
    }
  };
  walk(server.data);
  assert.equal((await server.stop()).code, 0, server.log());
  places.log = server.log();

  const secrets = [...Object.values(CANARY), "upstream-key-ok", "upstream-key-echo", "upstream-key-cut"];
  const forms = (s) => [s, Buffer.from(s).toString("base64").replace(/=+$/, "").slice(0, -2), encodeURIComponent(`:${s}`)];
  for (const [place, text] of Object.entries(places))
    for (const secret of secrets)
      for (const form of forms(secret)) assert.ok(!text.includes(form), `${secret} is in ${place}`);
  assert.ok(places.log.length > 10000, "the log was loud");
  assert.ok(answers.length >= 50, `${answers.length} answers`);
});
