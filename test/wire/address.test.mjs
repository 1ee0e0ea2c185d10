// The addresses in answers of the queue, and callers who name no host.
import { after, before, it } from "node:test";
import assert from "node:assert/strict";
import { request } from "node:http";
import { request as tlsRequest } from "node:https";
import { execFileSync } from "node:child_process";
import { mkdtempSync, copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

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

// fetch does not let a caller choose its Host.
const ask = (server, method, path, headers = {}, body = "", tls = null) =>
  new Promise((resolve, reject) => {
    const options = { method, path, host: "127.0.0.1", port: new URL(tls?.base ?? server.base).port, headers, ca: tls?.ca, servername: tls && "localhost" };
    const q = (tls ? tlsRequest : request)(options, (r) => {
      let text = "";
      r.on("data", (d) => (text += d)).on("end", () => resolve({ status: r.statusCode, headers: r.headers, text, json: () => JSON.parse(text) }));
    });
    q.on("error", reject).end(body);
  });

const PROMPT = '{"prompt":"x"}';

it("the Host stands for a surface where no prefix stands", async () => {
  const server = await startServer(
    mockConfig(mock, { ok: "/ok" }, "virtual_hosts: { jobs.example.org: queue }\nallowed_hosts: [jobs.example.org]\n"),
  );
  await server.ready();
  for (const [host, path, base] of [
    ["queue.fal.run", `/${ID}`, "http://queue.fal.run"],
    ["queue.fal.run", `/queue/${ID}`, "http://queue.fal.run/queue"],
    ["jobs.example.org:8080", `/${ID}`, "http://jobs.example.org:8080"],
  ]) {
    const s = (await ask(server, "POST", path, { host }, PROMPT)).json();
    assert.equal(s.status_url, `${base}/${ID}/requests/${s.request_id}/status`);
    const at = new URL(s.status_url).pathname;
    assert.ok([200, 202].includes((await ask(server, "GET", at, { host })).status));
  }
  const run = await ask(server, "POST", `/${ID}`, { host: "fal.run" }, PROMPT);
  assert.equal(run.status, 200);
  assert.match(run.json().output, /meaning/);
  assert.equal((await ask(server, "POST", `/${ID}`, { host: "rest.fal.ai" }, PROMPT)).status, 404);
  await stopped(server);
});

it("a request is found by every form of its endpoint's id, and by no other's", async () => {
  const server = await startServer(
    mockConfig(mock, { ok: "/ok" }, "endpoint_aliases: { workflows/me/chat: fal-ai/any-llm, acme/talk/now: fal-ai/any-llm }\n"),
  );
  await server.ready();
  const found = async (submit, ask_by, other) => {
    const s = (await ask(server, "POST", `/queue/${submit}`, {}, PROMPT)).json();
    for (const id of [ask_by].flat())
      for (const tail of ["/status", "/status/", "/status?logs=1"])
        assert.ok([200, 202].includes((await ask(server, "GET", `/queue/${id}/requests/${s.request_id}${tail}`)).status), id);
    while ((await ask(server, "GET", new URL(s.status_url).pathname)).status !== 200) await sleep(20);
    for (const id of [ask_by].flat())
      for (const tail of ["", "/", "/response", "/response/"])
        assert.equal((await ask(server, "GET", `/queue/${id}/requests/${s.request_id}${tail}`)).status, 200, id + tail);
    assert.equal((await ask(server, "GET", `/queue/${other}/requests/${s.request_id}`)).status, 404);
  };
  await found("fal-ai/any-llm", ["fal-ai/any-llm", "110602490/any-llm", "110602490-any-llm"], "openrouter/router");
  await found("110602490-any-llm", ["fal-ai/any-llm", "110602490/any-llm"], "fal-ai/any");
  await found("workflows/me/chat", "workflows/me/chat", "fal-ai/any-llm");
  await found("acme/talk/now", ["acme/talk", "acme/talk/now"], "acme/talker");
  await found("fal-ai/any-llm/", "fal-ai/any-llm", "fal-ai/any-llm/vision");
  assert.equal((await ask(server, "POST", "/queue/acme/talk", {}, PROMPT)).status, 404);
  await stopped(server);
});

it("an alias that leads nowhere stops the start", async () => {
  await assert.rejects(
    startServer(mockConfig(mock, { ok: "/ok" }, "endpoint_aliases: { a/b: fal-ai/nothing }\n")),
    /"code":78[^]*a\/b/,
  );
});

it("what a reverse proxy says of the caller counts from trusted ones only", async () => {
  const headers = { forwarded: 'for=1.2.3.4;proto=https;host="llm.example.org"' };
  const address = async (extra) => {
    const server = await startServer(mockConfig(mock, { ok: "/ok" }, extra));
    await server.ready();
    const s = (await ask(server, "POST", `/queue/${ID}`, headers, PROMPT)).json();
    await stopped(server);
    return new URL(s.status_url).origin;
  };
  assert.match(await address(""), /^http:\/\/127.0.0.1:/);
  assert.match(await address("trusted_proxies: [10.0.0.0/8]\n"), /^http:\/\/127.0.0.1:/);
  assert.equal(await address("trusted_proxies: [127.0.0.0/8]\n"), "https://llm.example.org");
});

// --- TLS

const certificate = (folder, name) => {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
    "-days", "3", "-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], { stdio: "ignore" });
  execFileSync("chmod", ["600", key]);
  return { cert, key };
};

const tlsConfig = (pair, extra = "") =>
  mockConfig(mock, { ok: "/ok", words: "/tokens/40/sse-interval/50" }, `listen_tls: "127.0.0.1:0"\ntls_cert: ${pair.cert}\ntls_key: ${pair.key}\n${extra}`);

it("SIGHUP reads the certificate again and drops no connection", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anyllm-tls-"));
  const [live, next] = [certificate(folder, "first"), certificate(folder, "second")];
  const second = readFileSync(next.cert);
  const server = await startServer(tlsConfig(live));
  const [, base] = await server.child.line(/listening on (https:\S+)/);
  const tls = { base, ca: [readFileSync(live.cert), second] };
  await server.ready();
  const s = (await ask(server, "POST", `/queue/${ID}`, {}, PROMPT, tls)).json();
  assert.match(s.status_url, /^https:/);

  const subject = () =>
    new Promise((resolve, reject) => {
      const t = tlsConnect({ port: new URL(base).port, host: "127.0.0.1", servername: "localhost", ca: tls.ca }, () => {
        resolve(t.getPeerCertificate().subject.CN);
        t.destroy();
      });
      t.on("error", reject);
    });
  assert.equal(await subject(), "first");
  const stream = ask(server, "POST", `/run/${ID}/stream`, {}, '{"prompt":"x","model":"test/words"}', tls);
  await sleep(200);
  copyFileSync(next.cert, live.cert);
  server.child.process.kill("SIGHUP");
  await server.child.line(/reload_failed/);
  assert.equal(await subject(), "first", "a pair that does not fit is refused");
  copyFileSync(next.key, live.key);
  server.child.process.kill("SIGHUP");
  await server.child.line(/event=reloaded what=tls/);
  assert.equal(await subject(), "second");
  const events = (await stream).text.trim().split("\n\n");
  assert.match(events.at(-1), /"partial":false/, "the stream that ran is whole");
  await stopped(server);
  rmSync(folder, { recursive: true });
});

it("a certificate that cannot be used stops the start with what to do", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anyllm-tls-"));
  const [a, b] = [certificate(folder, "a"), certificate(folder, "b")];
  await assert.rejects(startServer(tlsConfig({ cert: a.cert, key: b.key })), /"code":78/);
  await assert.rejects(startServer(tlsConfig({ cert: join(folder, "none"), key: b.key })), /"code":78[^]*none/);
  writeFileSync(join(folder, "open.key"), readFileSync(a.key), { mode: 0o644 });
  await assert.rejects(startServer(tlsConfig({ cert: a.cert, key: join(folder, "open.key") })), /"code":78[^]*open.key/);
  rmSync(folder, { recursive: true });
});
