// Deliveries as receivers see them: verified by the code of docs/webhooks.md and by the standardwebhooks package, while the
// keys change, and over TLS.
import { after, before, it } from "node:test";
import assert from "node:assert/strict";
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Webhook } from "standardwebhooks";
import { verify } from "../../examples/webhooks/verify.mjs";
import { nonce, until } from "./common.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

const QUEUE = "/queue/fal-ai/any-llm";
const KEYS = "keys:\n  - { id: kid, secret: ksecret, owner: team }\n  - { id: other, secret: osecret, owner: others }\n";
const RULES = "webhook_allow: [127.0.0.0/8]\nwebhook_retries: 2\nwebhook_window: 1s\n";

const folder = mkdtempSync(join(tmpdir(), "anyllm-test-webhooks-"));
const deliveries = new Map();
let mock, server, plain, secure;

async function take(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const id = request.headers["webhook-id"];
  const all = deliveries.get(id) ?? [];
  deliveries.set(id, [...all, { headers: request.headers, body: Buffer.concat(chunks) }]);
  response.end();
}

async function listening(receiver, scheme) {
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  return `${scheme}://127.0.0.1:${receiver.address().port}`;
}

before(async () => {
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const about = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync("openssl", [...kind, ...about, "-keyout", key, "-out", cert], { stdio: "ignore" });
  plain = createServer(take);
  plain.url = await listening(plain, "http");
  secure = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, take);
  secure.url = await listening(secure, "https");
  mock = await startMock();
  server = await startServer(mockConfig(mock, { ok: "/ok" }, KEYS + RULES));
  await server.ready();
});

after(async () => {
  await server?.stop();
  await mock?.stop();
  for (const receiver of [plain, secure]) receiver?.close(), receiver?.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

async function submit(url, { to = server, prompt = nonce() } = {}) {
  const r = await to.get(`${QUEUE}?fal_webhook=${encodeURIComponent(url)}`, {
    method: "POST",
    headers: { authorization: "Key kid:ksecret", "content-type": "application/json" },
    body: JSON.stringify({ prompt, model: "test/ok" }),
  });
  assert.equal(r.status, 200, await r.clone().text());
  return (await r.json()).request_id;
}

const delivered = (id) => until(`the delivery of ${id}`, () => deliveries.get(id)?.[0]);
const jwks = async () => (await server.get("/.well-known/jwks.json")).json();
const secretOf = async (key) =>
  (await (await server.get("/rest/webhooks/secret", { headers: { authorization: `Key ${key}` } })).json()).secret;

const logsOf = async (id, to = server) => {
  const r = await to.get(`${QUEUE}/requests/${id}/status?logs=1`, { headers: { authorization: "Key kid:ksecret" } });
  return (await r.json()).logs.map((l) => l.message).join("\n");
};

it("a delivery is verified by the example of the documents, and no other is", async () => {
  const { headers, body } = await delivered(await submit(`${plain.url}/example`));
  const keys = await jwks();
  assert.ok(verify(headers, body, keys));
  const mixed = { keys: [{ kty: "RSA", n: "AQAB", e: "AQAB" }, ...keys.keys] };
  assert.ok(verify(headers, body, mixed), "a key of another sort beside it");
  for (let bit = 0; bit < body.length * 8; bit += 7) {
    const flipped = Buffer.from(body);
    flipped[bit >> 3] ^= 1 << (bit & 7);
    assert.ok(!verify(headers, flipped, keys), `bit ${bit} of the body`);
  }
  for (const name of ["request-id", "user-id", "timestamp", "signature"]) {
    const header = `x-fal-webhook-${name}`;
    assert.ok(!verify({ ...headers, [header]: headers[header].replace(/.$/, (c) => (c === "1" ? "2" : "1")) }, body, keys), name);
    assert.ok(!verify({ ...headers, [header]: undefined }, body, keys), name);
  }
  const old = { ...headers, "x-fal-webhook-timestamp": String(Math.floor(Date.now() / 1000) - 301) };
  assert.ok(!verify(old, body, keys));
  assert.equal(headers["x-fal-webhook-user-id"], "team");
});

it("random bodies of any alphabet are verified", async () => {
  const prompts = Array.from({ length: 40 }, (_, i) => `${nonce()} ${String.fromCodePoint(0x20 + i, 0x3b1 + i, 0x1f600 + i)} "\\ ${i}`);
  const ids = await Promise.all(prompts.map((prompt) => submit(`${plain.url}/random`, { prompt })));
  const keys = await jwks();
  for (const id of ids) {
    const { headers, body } = await delivered(id);
    assert.ok(verify(headers, body, keys));
    assert.equal(JSON.parse(body).request_id, id);
  }
});

it("the standardwebhooks package verifies by the owner's secret", async () => {
  const { headers, body } = await delivered(await submit(`${plain.url}/standard`));
  const own = await secretOf("kid:ksecret");
  assert.match(own, /^whsec_/);
  assert.equal(new Webhook(own).verify(body, headers).status, "OK");
  const foreign = await secretOf("other:osecret");
  assert.notEqual(foreign, own);
  assert.throws(() => new Webhook(foreign).verify(body, headers));
  for (let bit = 0; bit < body.length * 8; bit += 13) {
    const flipped = Buffer.from(body);
    flipped[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => new Webhook(own).verify(flipped, headers));
  }
  assert.throws(() => new Webhook(own).verify(body, { ...headers, "webhook-id": "other" }));
  assert.equal((await server.get("/rest/webhooks/secret")).status, 401);
});

it("v1a is Ed25519 over id.timestamp.body", async () => {
  const { headers, body } = await delivered(await submit(`${plain.url}/v1a`));
  const message = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  const [version, signature] = headers["webhook-signature"].split(" ")[0].split(",");
  assert.equal(version, "v1a");
  const [{ kty, crv, x }] = (await jwks()).keys;
  const key = createPublicKey({ key: { kty, crv, x }, format: "jwk" });
  assert.ok(verifySignature(null, message, key, Buffer.from(signature, "base64")));
});

it("deliveries while the keys change are verified by the old list and by the new one", async () => {
  const old = await jwks();
  const first = Array.from({ length: 20 }, () => submit(`${plain.url}/rotation`));
  writeFileSync(join(server.data, "keys/rotate"), "");
  process.kill(server.pid, "SIGHUP");
  const later = Array.from({ length: 20 }, () => submit(`${plain.url}/rotation`));
  await server.child.line(/event=reloaded what=signing_keys/);
  const fresh = await until("the new key", async () => ((await jwks()).keys.length === 2 ? jwks() : null));
  const last = Array.from({ length: 20 }, () => submit(`${plain.url}/rotation`));
  for (const id of await Promise.all([...first, ...later, ...last])) {
    const { headers, body } = await delivered(id);
    assert.ok(verify(headers, body, old) && verify(headers, body, fresh));
  }
  const { headers } = await delivered(await last[0]);
  assert.equal(headers["webhook-signature"].split(" ").filter((s) => s.startsWith("v1a,")).length, 2);
});

it("W13 a certificate that nobody vouches for is not delivered to", async () => {
  const id = await submit(`${secure.url}/unknown`);
  await until("the end of the tries", async () => /given up after 3 tries: TLS failed/.test(await logsOf(id)));
  assert.equal(deliveries.get(id), undefined);
});

it("a certificate that the system's store vouches for is", async () => {
  const trusting = await startServer(mockConfig(mock, { ok: "/ok" }, KEYS + RULES), {
    env: { SSL_CERT_FILE: join(folder, "cert.pem") },
  });
  await trusting.ready();
  const id = await submit(`${secure.url}/known`, { to: trusting });
  await delivered(id);
  await until("the log", async () => /webhook delivered/.test(await logsOf(id, trusting)));
  await trusting.stop();
});

it("the code on the page is the code that was run here", () => {
  const page = readFileSync(new URL("../../docs/webhooks.md", import.meta.url), "utf8");
  for (const name of ["verify.c", "verify.py", "verify.mjs"]) {
    const code = readFileSync(new URL(`../../examples/webhooks/${name}`, import.meta.url), "utf8");
    assert.ok(page.includes(`\n${code}\`\`\`\n`), `docs/webhooks.md does not show examples/webhooks/${name} as it is`);
  }
});
