// The browser's proxy as a real one (proxy.forward): what goes out to fal, what comes back, and what nobody can make it do.
// fal is a TLS server of this file's own.
import { after, before, beforeEach, describe, it } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFalClient } from "@fal-ai/client";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const FAL_KEY = "fal-id:canary-fal-key-Hx81";
const ID = "8f0e6b1c-0f4a-4c1e-9a55-0d1f2c3b4a59"; // of fal's answers
const CALLER = "Key app1:canary-caller-secret";

let folder, mock, fal, server, keyed;
const cert = (name) => join(folder, name);

function certificate(name, subject) {
  const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", `/CN=${subject}`, ...names,
      "-keyout", cert(`${name}.key`), "-out", cert(`${name}.pem`)],
    { stdio: "ignore" },
  );
}

// What it does is told by the last segment of the path.
const acts = {
  ok: (req, res) => {
    res.writeHead(200, {
      "content-type": "application/json",
      "x-fal-request-id": ID,
      "x-fal-billable-units": "3",
      "retry-after": "7",
      etag: '"e1"',
      "cache-control": "no-store",
      "set-cookie": ["a=b", "c=d"],
      "access-control-allow-origin": "https://evil.example",
      "access-control-allow-credentials": "true",
      "strict-transport-security": "max-age=1",
      location: "https://evil.example/",
      server: "fal-server",
      "x-internal": "y",
      link: "<https://evil.example>; rel=preload",
    });
    res.end('{"output":"from fal"}');
  },
  error: (req, res) => res.writeHead(422, { "content-type": "application/json", "x-fal-request-id": ID }).end('{"detail":[]}'),
  busy: (req, res) => res.writeHead(429, { "content-type": "application/json", "retry-after": "9" }).end('{"detail":"later"}'),
  moved: (req, res) => res.writeHead(302, { location: `https://localhost:${fal.port}/run/fal-ai/ok` }).end(),
  nothing: (req, res) => res.writeHead(204, { "x-fal-request-id": ID }).end(),
  echo: (req, res) => res.writeHead(200, { "content-type": "application/octet-stream" }).end(req.body),
  // An event each 10 ms until somebody ends it.
  stream: (req, res) => {
    res.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => res.write('data: {"n":1}\n\n'), 10);
    res.on("close", () => clearInterval(timer));
  },
  big: (req, res) => {
    res.writeHead(200, { "content-type": "application/octet-stream" });
    const chunk = Buffer.alloc(1 << 20, "x");
    const more = () => {
      while (fal.sent < 256 << 20) {
        fal.sent += chunk.length;
        if (!res.write(chunk)) return void res.once("drain", more);
      }
      res.end();
    };
    more();
  },
  cut: (req, res) => {
    res.writeHead(200, { "content-type": "application/json", "content-length": "100" });
    res.write('{"output":"ha');
    setTimeout(() => res.destroy(), 50);
  },
  refuse: (req) => req.socket.destroy(),
  silent: () => {},
};

async function startFal() {
  const f = { seen: [], connections: 0, open: 0, sent: 0 };
  const https = createServer({ key: readFileSync(cert("good.key")), cert: readFileSync(cert("good.pem")) }, async (req, res) => {
    const parts = [];
    f.open++;
    res.on("close", () => f.open--);
    for await (const p of req) parts.push(p);
    req.body = Buffer.concat(parts);
    f.seen.push(req);
    const act = acts[req.url.split("?")[0].split("/").pop()] ?? acts.ok;
    act(req, res);
  });
  https.on("secureConnection", () => f.connections++);
  await new Promise((resolve) => https.listen(0, "127.0.0.1", resolve));
  f.port = https.address().port;
  f.stop = () => (https.closeAllConnections(), https.close());
  return f;
}

const config = (to, extra = "") => mockConfig(mock, { ok: "/ok" }, `proxy: { forward: true, forward_to: "${to}", fal_key: "${FAL_KEY}"${extra} }\n`);
const keys = "keys:\n  - { id: app1, secret: canary-caller-secret }\n  - { id: web, secret: w }\n";

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "anyllm-proxy-"));
  certificate("good", "fal of the test");
  certificate("other", "somebody else");
  mock = await startMock();
  fal = await startFal();
  const env = { SSL_CERT_FILE: cert("good.pem") };
  server = await startServer(config(`https://localhost:${fal.port}`), { env });
  keyed = await startServer(keys + config(`https://localhost:${fal.port}/base`, ", endpoints: [fal-ai/ok, fal-ai/echo]"), { env });
});

after(async () => {
  for (const s of [server, keyed]) {
    assert.doesNotMatch(s?.log() ?? "", /canary|AddressSanitizer|runtime error/);
    await s?.stop();
  }
  fal?.stop();
  await mock?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => (fal.seen.length = fal.sent = 0));

const through = (target, { to = server, method = "POST", headers = {}, body = "{}", ...rest } = {}) =>
  fetch(`${to.base}/api/fal/proxy`, {
    method,
    headers: { "content-type": "application/json", ...(target && { "x-fal-target-url": target }), ...headers },
    ...(method === "POST" && { body }),
    redirect: "manual",
    ...rest,
  });

async function until(what, ok, ms = 20000) {
  for (const end = Date.now() + ms; !ok(); await sleep(5)) assert.ok(Date.now() < end, `not in time: ${what}`);
}

async function untilStats(ok, ms = 20000) {
  for (const end = Date.now() + ms; !ok(await mock.stats()); await sleep(10)) assert.ok(Date.now() < end, "not in time at the model");
}

describe("the proxy forwards to fal", () => {
  it("P8 method, path, query and body arrive as they were, under the surface's prefix", async () => {
    const cases = [
      ["POST", "https://fal.run/fal-ai/echo", "/run/fal-ai/echo"],
      ["POST", "https://queue.fal.run/fal-ai/echo?fal_webhook=https%3A%2F%2Fa.b", "/queue/fal-ai/echo?fal_webhook=https%3A%2F%2Fa.b"],
      ["GET", "https://queue.fal.run/fal-ai/x/requests/1/status?logs=1", "/queue/fal-ai/x/requests/1/status?logs=1"],
      ["PUT", "https://queue.fal.run/fal-ai/x/requests/1/cancel", "/queue/fal-ai/x/requests/1/cancel"],
      ["POST", "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3", "/rest/storage/upload/initiate?storage_type=fal-cdn-v3"],
      ["POST", "https://rest.alpha.fal.ai/tokens/", "/rest/tokens/"],
    ];
    for (const [method, target, url] of cases) {
      const body = JSON.stringify({ prompt: "żółw 🐢", n: Math.random() });
      const r = await through(target, { method, body });
      assert.equal(r.status, 200, target);
      const seen = fal.seen.pop();
      assert.equal(seen.method, method);
      assert.equal(seen.url, url);
      assert.equal(seen.body.toString(), method === "POST" ? body : "");
      if (url.endsWith("echo")) assert.equal(await r.text(), body);
    }
    assert.equal(fal.seen.length, 0, "nothing is sent twice");
  });

  it("P6 only fal's headers travel, with the server's own key", async () => {
    const sent = {
      authorization: CALLER,
      cookie: "session=1",
      "x-forwarded-for": "6.6.6.6",
      "x-forwarded-host": "evil.example",
      forwarded: "for=6.6.6.6",
      "proxy-authorization": "Basic x",
      "x-real-ip": "6.6.6.6",
      origin: "http://localhost:3000",
      referer: "http://localhost:3000/secret",
      "accept-encoding": "gzip",
      te: "trailers",
      accept: "application/json",
      "user-agent": "@fal-ai/client/1.10.1",
      "x-fal-queue-priority": "low",
      "x-fal-runner-hint": "h",
      "x-fal-client-proxy": "mine",
      "x-fal-user-id": "another-team",
      "x-falsify": "y",
    };
    await through("https://fal.run/fal-ai/ok", { headers: sent });
    const { rawHeaders } = fal.seen[0];
    const got = {};
    for (let i = 0; i < rawHeaders.length; i += 2) {
      assert.ok(!(rawHeaders[i].toLowerCase() in got), `${rawHeaders[i]} twice`);
      got[rawHeaders[i].toLowerCase()] = rawHeaders[i + 1];
    }
    assert.deepEqual(got, {
      host: `localhost:${fal.port}`,
      authorization: `Key ${FAL_KEY}`,
      "x-fal-client-proxy": "anyllm",
      "content-type": "application/json",
      accept: "application/json",
      "user-agent": "@fal-ai/client/1.10.1",
      "x-fal-queue-priority": "low",
      "x-fal-runner-hint": "h",
      "content-length": "2",
      ...(got.connection && { connection: got.connection }),
    });
    assert.doesNotMatch(got.connection ?? "", /authorization|cookie/i);
  });

  it("P5 of the answer only what fal's clients read comes back", async () => {
    const r = await through("https://fal.run/fal-ai/ok", { headers: { origin: "http://localhost:3000" } });
    assert.equal(await r.text(), '{"output":"from fal"}');
    const got = Object.fromEntries(r.headers);
    for (const name of ["set-cookie", "location", "strict-transport-security", "server", "x-internal", "link", "access-control-allow-credentials"])
      assert.ok(!(name in got), name);
    assert.equal(got["access-control-allow-origin"], "*");
    assert.equal(got["x-fal-request-id"], ID);
    assert.equal(got["x-fal-billable-units"], "3");
    assert.equal(got["retry-after"], "7");
    assert.equal(got.etag, '"e1"');
    assert.equal(got["cache-control"], "no-store");
    assert.equal(got["content-type"], "application/json");
    assert.equal(got["x-content-type-options"], "nosniff");
  });

  it("P5 a redirect is not followed, and where to is not said", async () => {
    const r = await through("https://fal.run/fal-ai/moved");
    assert.equal(r.status, 302);
    assert.equal(r.headers.get("location"), null);
    assert.equal(fal.seen.length, 1);
  });

  it("statuses and answers without a body come through", async () => {
    for (const [act, status] of [["error", 422], ["busy", 429], ["nothing", 204]]) {
      const r = await through(`https://fal.run/fal-ai/${act}`);
      assert.equal(r.status, status);
      await r.text();
      const again = await through("https://fal.run/fal-ai/ok"); // the connections are in order
      assert.equal(again.status, 200);
      await again.text();
    }
    const head = await through("https://queue.fal.run/fal-ai/ok", { method: "HEAD" });
    assert.equal(head.status, 200);
  });

  it("connections to fal are kept", async () => {
    const before = fal.connections;
    for (let i = 0; i < 20; i++) await (await through("https://fal.run/fal-ai/ok")).text();
    assert.ok(fal.connections - before <= 1, `${fal.connections - before} connections for 20 calls`);
  });

  it("events come while the answer goes on; the caller's leaving ends it at fal at once", async () => {
    const ctl = new AbortController();
    const r = await through("https://fal.run/fal-ai/any/stream", { signal: ctl.signal });
    assert.equal(r.headers.get("content-type"), "text/event-stream");
    const reader = r.body.getReader();
    for (let n = 0; n < 5; n++) assert.match(Buffer.from((await reader.read()).value).toString(), /data: /);
    ctl.abort();
    await until("the stream at fal ends", () => fal.open === 0);
  });

  it("a caller who leaves before the answer ends the call at fal", async () => {
    const ctl = new AbortController();
    const gone = through("https://fal.run/fal-ai/silent", { signal: ctl.signal }).catch((e) => e.name);
    await until("it arrives", () => fal.seen.length === 1);
    ctl.abort();
    assert.equal(await gone, "AbortError");
    await until("the call at fal ends", () => fal.open === 0);
  });

  it("a slow reader slows fal down", async () => {
    const req = request(`${server.base}/api/fal/proxy`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-fal-target-url": "https://fal.run/fal-ai/big" },
    });
    req.end("{}");
    const res = await new Promise((resolve) => req.on("response", resolve));
    res.pause();
    let last = -1;
    for (; fal.sent !== last; await sleep(500)) last = fal.sent;
    assert.ok(last < 64 << 20, `${last >> 20} MiB taken from fal for a caller who reads nothing`);
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))[1]);
    assert.ok(rss < 400 << 10, `${rss >> 10} MiB of memory`);
    let got = 0;
    for await (const d of res) got += d.length; // and then all of it comes
    assert.equal(got, 256 << 20);
  });

  it("an answer that is cut looks cut; one that never comes is 502, and nothing is tried twice", async () => {
    const r = await through("https://fal.run/fal-ai/cut");
    await assert.rejects(r.text());
    fal.seen.length = 0;
    const none = await through("https://fal.run/fal-ai/refuse");
    assert.equal(none.status, 502);
    assert.equal((await none.json()).error_type, "runner_incomplete_response");
    assert.ok(fal.seen.length <= 2, "once, and once more only where a kept connection had closed");
  });

  it("large bodies pass both ways", async () => {
    const body = Buffer.alloc(8 << 20, "0123456789");
    const r = await through("https://fal.run/fal-ai/echo", { body });
    assert.deepEqual(Buffer.from(await r.arrayBuffer()), body);
  });
});

describe("the proxy forwards to nobody else", () => {
  it("P1 P2 targets that are not fal's are 400, and nothing goes out", async () => {
    const bad = [
      undefined, "", "https://evil.com", "https://queue.fal.run.evil.com/x", "https://queue.fal.run@evil.com/", "https://evil.com/queue.fal.run",
      "https://evil.com#.fal.run", "https://fal.run\\@evil.com", "http://fal.run/fal-ai/ok", "https://fal.run:8443/fal-ai/ok", "//fal.run/fal-ai/ok",
      "https://xn--fl-7kc.run/fal-ai/ok", "https://api.fal.ai/v1/keys", "https://rest.fal.ai/billing", `https://localhost:${fal.port}/run/fal-ai/ok`,
      `${server.base}/queue/fal-ai/ok`, "https://fal.run/fal-ai/../ok", "https://fal.run/%2e%2e/ok", "https://fal.run/a/b, https://fal.run/a/b",
    ];
    const before = fal.connections;
    for (const target of bad) {
      const r = await through(target);
      assert.equal(r.status, 400, target);
      assert.equal(await r.json(), "Invalid request", target);
      assert.equal(r.headers.get("access-control-allow-origin"), "*");
      assert.match(r.headers.get("x-fal-request-id"), /^[0-9a-f-]{36}$/);
    }
    assert.equal(fal.seen.length, 0);
    assert.equal(fal.connections, before);
  });

  it("P3 P4 with keys: a key is needed, and a POST only to what is listed", async () => {
    const authorization = CALLER;
    const r = await through("https://fal.run/fal-ai/ok", { to: keyed });
    assert.equal(r.status, 401);
    assert.equal(await r.json(), "Unauthorized");
    assert.equal((await through("https://fal.run/fal-ai/ok", { to: keyed, headers: { authorization: "Key app1:wrong" } })).status, 401);
    const no = await through("https://fal.run/fal-ai/busy", { to: keyed, headers: { authorization } });
    assert.equal(no.status, 400);
    assert.equal(await no.json(), "Invalid request");
    assert.equal(fal.seen.length, 0);
    const yes = await through("https://fal.run/fal-ai/ok", { to: keyed, headers: { authorization } });
    assert.equal(yes.status, 200);
    assert.equal(fal.seen[0].url, "/base/run/fal-ai/ok");
    assert.equal(fal.seen[0].headers.authorization, `Key ${FAL_KEY}`);
    const status = await through("https://queue.fal.run/fal-ai/busy/requests/1/status", { to: keyed, method: "GET", headers: { authorization } });
    assert.equal(status.status, 200);
  });

  it("a certificate that is not fal's ends it before the key is sent", async () => {
    const wary = await startServer(config(`https://localhost:${fal.port}`), { env: { SSL_CERT_FILE: cert("other.pem") } });
    const r = await through("https://fal.run/fal-ai/ok", { to: wary });
    assert.equal(r.status, 502);
    const { detail } = await r.json();
    assert.doesNotMatch(detail, /localhost|127\.0\.0\.1|canary/);
    assert.equal(fal.seen.length, 0);
    assert.doesNotMatch(wary.log(), /canary/);
    await wary.stop();
  });

  it("a fal that is not there is 503", async () => {
    const alone = await startServer(config("https://localhost:1"), {});
    const r = await through("https://fal.run/fal-ai/ok", { to: alone });
    assert.equal(r.status, 503);
    assert.equal((await r.json()).error_type, "runner_connection_refused");
    assert.equal((await alone.stop()).code, 0);
  });

  it("the end of the server ends a forwarded stream, too", async () => {
    const ending = await startServer(config(`https://localhost:${fal.port}`) + "grace: 1\n", { env: { SSL_CERT_FILE: cert("good.pem") } });
    const r = await through("https://fal.run/fal-ai/any/stream", { to: ending });
    const body = r.text().catch((e) => e.name);
    await until("it runs", () => fal.open === 1);
    const { code } = await ending.stop();
    assert.equal(code, 0);
    await body;
    await until("the stream at fal ends", () => fal.open === 0);
    assert.doesNotMatch(ending.log(), /AddressSanitizer|LeakSanitizer/);
  });
});

// Two of us: what the second has under /run and /queue is what the first one's callers get, as if it were fal.
describe("the proxy forwards to another anyllm", () => {
  let far, near, fal;
  before(async () => {
    far = await startServer(`keys:\n  - { id: gate, secret: far-secret }\n` + mockConfig(mock, { ok: "/sse-interval/2" }));
    near = await startServer(
      mockConfig(mock, { none: "http://127.0.0.1:1" }, `proxy: { forward: true, forward_to: "${far.base}", fal_key: "gate:far-secret" }\n`),
    );
    fal = createFalClient({ proxyUrl: { url: `${near.base}/api/fal/proxy`, when: "always" } });
  });
  after(async () => {
    await near?.stop();
    await far?.stop();
  });

  it("fal's client runs, streams and subscribes through both", async () => {
    const input = { prompt: "hello", model: "test/ok" };
    const { data, requestId } = await fal.run("fal-ai/any-llm", { input });
    assert.match(data.output, /^The meaning of life/);
    assert.match(requestId, /^[0-9a-f-]{36}$/);
    const stream = await fal.stream("fal-ai/any-llm", { input });
    let events = 0;
    for await (const e of stream) events += typeof e.output === "string";
    assert.ok(events > 10, `${events} events`);
    assert.equal((await stream.done()).output, data.output);
    for (const mode of ["polling", "streaming"]) {
      const seen = new Set();
      const done = await fal.subscribe("fal-ai/any-llm", { input, mode, logs: true, pollInterval: 20, onQueueUpdate: (u) => seen.add(u.status) });
      assert.equal(done.data.output, data.output, mode);
      assert.ok(seen.has("COMPLETED"), mode);
    }
    assert.match(far.log(), /started/);
  });

  it("its errors come as they are", async () => {
    await assert.rejects(fal.run("fal-ai/any-llm", { input: { model: "test/ok" } }), (e) => e.status === 422 && e.body.detail[0].loc[1] === "prompt" && e.requestId !== "");
    await assert.rejects(fal.queue.status("fal-ai/any-llm", { requestId: ID }), (e) => e.status === 404 && e.body.status === "NOT_FOUND");
    await assert.rejects(fal.run("no/such", { input: {} }), (e) => e.status === 404);
  });

  it("the caller's leaving reaches the model", async () => {
    await mock.reset();
    const slow = await startServer(mockConfig(mock, { silent: "/silent" }));
    const gate = await startServer(mockConfig(mock, { none: "http://127.0.0.1:1" }, `proxy: { forward: true, forward_to: "${slow.base}", fal_key: k }\n`));
    const ctl = new AbortController();
    const gone = through("https://fal.run/fal-ai/any-llm", { to: gate, body: '{"prompt":"x","model":"test/silent"}', signal: ctl.signal }).catch((e) => e.name);
    await untilStats((s) => s.open === 1);
    ctl.abort();
    assert.equal(await gone, "AbortError");
    await untilStats((s) => s.open === 0);
    await gate.stop();
    await slow.stop();
  });
});
