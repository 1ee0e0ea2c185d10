// Secrets stay where they belong: with every kind of key planted, a round over all surfaces, and then nothing of them in
// logs at their loudest, answers, metrics, files of the data folder or the process's arguments.
import { after, before, it } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { until } from "./common.mjs";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
const CANARY = {
  caller: "canary-caller-Zk4vB8qW",
  wrong: "canary-wrong-Qm7tR2xL",
  query: "canary-query-Lw3nC9pD",
  guest: "canary-guest-Hv6yJ1sK",
  fal: "canary-fal-Td5fG0aE",
};
let mock, server, receiver;
const answers = [];
const deliveries = [];
const given = []; // what the server itself hands out, once, to one caller

before(async () => {
  mock = await startMock();
  receiver = createServer((req, res) => {
    deliveries.push(JSON.stringify(req.rawHeaders));
    req.on("data", (d) => deliveries.push(String(d))).on("end", () => res.end());
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  // the upstreams' keys are upstream-key-NAME
  const more =
    `keys: [{ id: app, scope: ADMIN, secret: "\${CANARY_CALLER}" }, { id: web, secret: "\${CANARY_GUEST}" }]\n` +
    'proxy: { key: web, forward: true, fal_key: "${CANARY_FAL}", forward_to: "http://127.0.0.1:1" }\n' +
    "webhook_allow: [127.0.0.0/8]\nmin_free_bytes: 0\n";
  const upstreams = { ok: "/ok", echo: "/echo-auth", broken: "/html", cut: "/cut/e2", refused: "http://127.0.0.1:1" };
  server = await startServer(mockConfig(mock, upstreams, more), {
    env: { CANARY_CALLER: CANARY.caller, CANARY_GUEST: CANARY.guest, CANARY_FAL: CANARY.fal },
    args: ["--log-level", "trace"],
  });
  await server.ready();
});

after(async () => {
  await mock.stop();
  receiver.close();
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

// What is in such an answer is its caller's; from then on it is a secret like the others.
async function gives(path, body, pick) {
  const r = await server.get(path, {
    method: "POST",
    headers: { authorization: `Key app:${CANARY.caller}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.ok(r.ok, `${path} ${r.status}`);
  const secret = pick(await r.json());
  assert.ok(secret.length > 20, `${path} ${secret}`);
  given.push(secret);
  return secret;
}

async function tokensAndFiles() {
  const key = await gives("/platform/v1/keys", { alias: "canary" }, (r) => r.key_secret);
  const { text } = await ask("/platform/v1/keys", { method: "GET" });
  const { key_id } = JSON.parse(text).keys.find((k) => k.alias === "canary");
  const made = `Key ${key_id}:${key}`;
  const hook = encodeURIComponent(`http://127.0.0.1:${receiver.address().port}/hook`);
  const submitted = JSON.parse((await ask(`/queue/${ID}?fal_webhook=${hook}`, { key: made, body: { prompt: "x" } })).text);
  for (const path of [`/run/${ID}`, `/run/${ID}/stream`]) await ask(path, { key: made, body: { prompt: "x" } });

  const storage = await gives("/rest/storage/auth/token", {}, (r) => r.token);
  for (const token of [storage, `${storage}x`]) await ask("/cdn/files/upload", { key: `Bearer ${token}`, body: { any: "thing" } });
  const signed = await gives("/rest/storage/upload/initiate", { content_type: "application/json", file_name: "canary.json" }, (r) => r.upload_url);
  const { pathname, search } = new URL(signed);
  given.push(search.slice(1));
  for (const tail of ["0", "", ""]) await ask(pathname + search + tail, { method: "PUT", key: "", body: { any: "thing" } });

  const jwt = await gives("/rest/tokens/", { allowed_apps: ["any-llm"], token_expiration: 60 }, (r) => r);
  for (const token of [jwt, `${jwt}x`]) {
    await ask(`/run/${ID}/stream?fal_jwt_token=${token}`, { key: "", body: { prompt: "x" } });
    const socket = new WebSocket(`${server.base.replace("http", "ws")}/run/${ID}/realtime?fal_jwt_token=${token}`);
    socket.onopen = () => socket.send(JSON.stringify({ prompt: "x" }));
    await new Promise((resolve) => {
      socket.onmessage = (m) => (answers.push(m.data), /"partial":false|error/.test(m.data) && socket.close());
      socket.onclose = socket.onerror = resolve;
    });
  }
  await ask(`/platform/v1/keys/${key_id}`, { method: "DELETE" });
  assert.equal((await ask(`/run/${ID}`, { key: made, body: { prompt: "x" } })).status, 401);
  await until("the delivery", () => deliveries.some((d) => d.includes(submitted.request_id)));
}

it("no key is in logs, answers, metrics, files or arguments", async () => {
  await everywhere();
  await tokensAndFiles();
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
  places.deliveries = deliveries.join("\n");
  const own = []; // the server's own signing keys, which lie in their files and nowhere else
  const walk = (folder) => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (path.endsWith(".pem")) own.push(readFileSync(path, "latin1").split("\n")[1]);
      else if (path === join(server.data, "keys/secret")) own.push(readFileSync(path, "latin1"));
      else if (statSync(path).isDirectory()) walk(path);
      else if (statSync(path).isFile()) places[path] = readFileSync(path, "latin1");
    }
  };
  walk(server.data);
  assert.equal((await server.stop()).code, 0, server.log());
  places.log = server.log();

  assert.equal(own.length, 2);
  const secrets = [...Object.values(CANARY), ...given, ...own, "upstream-key-ok", "upstream-key-echo", "upstream-key-cut"];
  const forms = (s) => [s, Buffer.from(s, "latin1").toString("base64").replace(/=+$/, "").slice(0, -2), encodeURIComponent(`:${s}`), Buffer.from(s, "latin1").toString("hex")];
  for (const [place, text] of Object.entries(places))
    for (const secret of secrets)
      for (const form of forms(secret)) assert.ok(!text.includes(form), `${secret} is in ${place}`);
  assert.ok(places.log.length > 10000, "the log was loud");
  assert.ok(answers.length >= 50, `${answers.length} answers`);
});
