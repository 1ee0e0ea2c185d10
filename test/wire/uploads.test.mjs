// Files and webhooks of fal's JavaScript clients, their files untouched: what goes up comes down with the same SHA-256.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { createHash, createPublicKey, randomFillSync, verify } from "node:crypto";
import { createServer } from "node:http";
import { cell, lacks } from "./cells.mjs";
import { collect, nonce, until } from "./common.mjs";
import { ID } from "./fal_cases.mjs";
import { clients, make, rewrite, startProxy } from "./fal_clients.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

const MB = 1 << 20;
const bytes = randomFillSync(Buffer.alloc(120 * MB));
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==", "base64");

// What @fal-ai/server-proxy does not let through unless it is told to: uploads in parts, tokens.
const ALLOWED_URLS = "fal.run/**,queue.fal.run/**,rest.fal.ai/**";
const told = (id) => (clients[id].proxy?.[0] === "@fal-ai/server-proxy" ? "with `allowedUrlPatterns`" : "yes");

const ids = Object.keys(clients);
const proxies = {};
const deliveries = new Map(); // request id -> { headers, body }
let mock, server, receiver;

before(async () => {
  mock = await startMock();
  receiver = createServer(async (req, res) => {
    const chunks = [];
    for await (const c of req) chunks.push(c);
    deliveries.set(req.headers["x-fal-webhook-request-id"], { headers: req.headers, body: Buffer.concat(chunks) });
    res.end();
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const extra = "keys: [{ id: kid, secret: ksecret, owner: team }]\nwebhook_allow: [127.0.0.0/8]\nmin_free_bytes: 0\n";
  server = await startServer(mockConfig(mock, { ok: "/ok" }, extra));
  await server.ready();
  const started = ids.filter((id) => clients[id].proxy).map(async (id) => {
    proxies[id] = await startProxy(clients[id].proxy, server.base, { ALLOWED_URLS });
  });
  await Promise.all(started);
});

after(async () => {
  await Promise.all(Object.values(proxies).map((p) => p.stop()));
  await server?.stop();
  await mock?.stop();
  receiver?.close();
});

async function down(url) {
  const answer = await fetch(url);
  assert.equal(answer.status, 200, url);
  return { answer, data: Buffer.from(await answer.arrayBuffer()) };
}

async function upAndDown(fal, size, name = "some file.bin") {
  const sent = bytes.subarray(bytes.length - size);
  const url = await fal.storage.upload(new File([sent], name, { type: "application/octet-stream" }));
  assert.ok(url.startsWith(server.base), url);
  const { answer, data } = await down(url);
  assert.equal(sha256(data), sha256(sent));
  assert.equal(Number(answer.headers.get("content-length")), size);
}

// As fal's documentation writes it.
async function wellSigned({ headers, body }) {
  const { keys } = await (await fetch(`${server.base}/rest/.well-known/jwks.json`)).json();
  const time = headers["x-fal-webhook-timestamp"];
  assert.ok(Math.abs(Date.now() / 1000 - Number(time)) < 300);
  const lines = [headers["x-fal-webhook-request-id"], headers["x-fal-webhook-user-id"], time, sha256(body)];
  const signature = Buffer.from(headers["x-fal-webhook-signature"], "hex");
  const good = (text) =>
    keys.some(({ kty, crv, x }) => verify(null, Buffer.from(text), createPublicKey({ key: { kty, crv, x }, format: "jwk" }), signature));
  return good(lines.join("\n")) && !good(lines.join("\n").replace(/.$/, (c) => (c === "0" ? "1" : "0")));
}

const cases = {
  async "upload.small"({ fal }) {
    for (const size of [0, 1, 10 * MB]) await upAndDown(fal, size);
    const unnamed = await fal.storage.upload(new Blob(["words"], { type: "text/plain" }));
    assert.equal((await down(unnamed)).data.toString(), "words");
  },

  async "upload.95"({ fal, id }) {
    await upAndDown(fal, 95 * MB);
    return told(id);
  },

  async "upload.120"({ fal, id }) {
    await upAndDown(fal, 120 * MB);
    return told(id);
  },

  async "upload.lifecycle"({ fal }) {
    const lifecycle = { expiresIn: 2, initialAcl: { default: "allow" } };
    const url = await fal.storage.upload(new Blob(["soon gone"]), { lifecycle });
    assert.equal((await fetch(url)).status, 200);
    await until("its end", async () => (await fetch(url)).status === 404);
    const hidden = await fal.storage.upload(new Blob(["mine"]), { lifecycle: { initialAcl: { default: "hide" } } });
    assert.equal((await fetch(hidden)).status, 404);
    const mine = await fetch(hidden, { headers: { Authorization: "Key kid:ksecret" } });
    assert.equal(await mine.text(), "mine");
  },

  // A picture in the input goes up by itself; the upstream, which cannot reach us, gets its bytes.
  async "upload.input"({ fal }) {
    const input = { prompt: nonce(), model: "openai/gpt-4o", image_urls: [new Blob([PNG], { type: "image/png" })] };
    const r = await fal.run(`${ID}/vision`, { input });
    assert.ok(r.data.output.startsWith(input.prompt));
    const [last] = JSON.parse((await mock.stats()).last_body).messages.slice(-1);
    const part = last.content.find((p) => p.type === "image_url");
    assert.equal(part.image_url.url, `data:image/png;base64,${PNG.toString("base64")}`);
  },

  // In a page: no key there, a token for a while.
  async "stream.token"({ id, base }) {
    const urls = [];
    const fetching = (url, init) => (urls.push(String(url)), fetch(rewrite(url, server.base), init));
    const input = { prompt: nonce() };
    const stream = await make(clients[id], base, { fetch: fetching }).stream(ID, { input, connectionMode: "client" });
    assert.ok((await collect(stream)).last.output.startsWith(input.prompt));
    assert.ok(urls.some((url) => url.includes("fal_jwt_token=")), urls.join(" "));
    return told(id);
  },

  async webhook({ fal }) {
    const webhookUrl = `http://127.0.0.1:${receiver.address().port}/hook?a=b c`.replace(" ", "%20");
    const input = { prompt: nonce() };
    const { request_id } = await fal.queue.submit(ID, { input, webhookUrl });
    const delivery = await until("the delivery", () => deliveries.get(request_id));
    const { status, error, payload, ...ids } = JSON.parse(delivery.body);
    assert.deepEqual([status, error], ["OK", null]);
    assert.ok(payload.output.startsWith(input.prompt));
    assert.deepEqual(ids, { request_id, gateway_request_id: request_id });
    assert.ok(await wellSigned(delivery));
    const failing = await fal.queue.submit(ID, { input: {}, webhookUrl });
    const told = JSON.parse((await until("the other", () => deliveries.get(failing.request_id))).body);
    assert.equal(told.status, "ERROR");
    assert.equal(told.error, "Invalid status code: 422");
    assert.equal(told.payload.detail[0].loc.join("."), "body.prompt");
  },
};

// One after the other: each holds its file several times in memory.
describe("files and webhooks", { concurrency: 1 }, () => {
  for (const [feature, run] of Object.entries(cases))
    for (const id of ids) {
      if (lacks(id, feature)) continue;
      it(`${feature}: ${id}`, { timeout: 60000 }, async () => {
        const base = proxies[id]?.base ?? server.base;
        const fal = make(clients[id], base);
        cell(id, feature, (await run({ fal, id, base })) ?? "yes");
      });
    }
});
