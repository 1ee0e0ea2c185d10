// libfal's wire, request by request, against what fal's own JavaScript client sends for the same calls: both talk to a
// server that records. Same method, path, query and body; headers but for the rows of `free`, each with its reason.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { decode, encode } from "@msgpack/msgpack"; // fal-js brings it
import { createFalClient } from "@fal-ai/client";
import { KEY, rewrite } from "./fal_clients.mjs";
import { anyllm } from "./server.mjs";

const ID = "fal-ai/any-llm";
const INPUT = { prompt: 'héllo "you"', n: 1.5, deep: { list: [1, null, true] } };
const LIFECYCLE = {
  expiresIn: "1d",
  initialAcl: { default: "forbid", rules: [{ user: "u1", decision: "allow" }, { user: "u2", decision: "hide" }] },
};

const program = join(dirname(anyllm), "test/wire/libfal_calls");

// ---- What may differ, and why ----

const free = {
  "host connection content-length transfer-encoding": "of the connection, not of the call",
  "accept-encoding": "each takes what it can unpack",
  "accept-language sec-fetch-mode": "Node's fetch adds them, as a browser would; no server of fal's reads them",
  "upgrade sec-websocket-key sec-websocket-version sec-websocket-extensions pragma cache-control":
    "of the handshake of a WebSocket, which is the RFC's",
  "user-agent": "each says its own name",
  "idempotency-key": "libfal's own, with each submit: anyllm honours it, fal ignores it (docs: retries)",
};
const isFree = (name) => Object.keys(free).some((names) => names.split(" ").includes(name));

// Of a request, what must be the same.
function significant({ method, path, headers, bytes, where }) {
  const kept = Object.fromEntries(Object.entries(headers).filter(([name]) => !isFree(name)));
  // JavaScript names the type of bodies that are not there.
  if (bytes === 0) delete kept["content-type"];
  // The bytes of uploads and the handshake of a WebSocket ask for no type of answer: Node says "*/*" there.
  if (where === "store" || where === "socket") delete kept.accept;
  for (const [name, value] of Object.entries(kept)) if (value.startsWith("{")) kept[name] = JSON.parse(value);
  // Written in one of two ways: "+" and "%20".
  const target = kept["x-fal-target-url"] && new URL(kept["x-fal-target-url"]);
  if (target) kept["x-fal-target-url"] = [target.origin, target.pathname, [...target.searchParams].sort()];
  if (kept["content-type"]) kept["content-type"] = kept["content-type"].replace(/; ?charset=utf-8$/i, "");
  return { method, path, headers: kept };
}

// ---- The server that records ----

const requests = [];
let base, server;
let polls = 0;

const status = (state, more = {}) => ({
  status: state, request_id: "r1", logs: null, metrics: {},
  ...Object.fromEntries(["status", "response", "cancel"].map((n) => [`${n}_url`, `${base}/queue/${app}/requests/r1${tails[n]}`])),
  ...more,
});
const tails = { status: "/status", response: "", cancel: "/cancel" };
let app = ID;
const states = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"];
const log = (n) => ({ message: `line ${n}`, level: "INFO", source: "USER", timestamp: `2026-01-01T00:00:0${n}Z` });

const json = (res, value, code = 200, headers = {}) => {
  res.writeHead(code, { "content-type": "application/json", "x-fal-request-id": "r1", ...headers });
  res.end(JSON.stringify(value));
};
const events = (res, list) => {
  res.writeHead(200, { "content-type": "text/event-stream", "x-fal-request-id": "r1" });
  res.end(list.map((e) => `data: ${JSON.stringify(e)}\n\n`).join(""));
};

const slot = (name) => ({ upload_url: `${base}/store/${encodeURIComponent(name)}?sig=a%2Fb&n=1`, file_url: `${base}/files/${encodeURIComponent(name)}` });

// What is asked, by its path; the first that fits.
const routes = [
  [/^\/run\/.*\/stream$/, (q, res) => events(res, [{ output: "4", partial: true }, { output: "42", partial: false, error: null }])],
  [/^\/run\//, (q, res) => json(res, { output: "42" })],
  [/^\/queue\/.*\/status\/stream$/, (q, res) => events(res, states.map((s, n) => status(s, { logs: [log(n)] })))],
  [/^\/queue\/.*\/status$/, (q, res) => json(res, status(states[Math.min(polls++, 2)]), 200)],
  [/^\/queue\/.*\/cancel$/, (q, res) => json(res, { status: "CANCELLATION_REQUESTED" }, 202)],
  [/^\/queue\/.*\/requests\/[^/]*$/, (q, res) => json(res, { output: "42" })],
  [/^\/queue\//, (q, res) => json(res, status("IN_QUEUE", { queue_position: 0 }))],
  [/^\/rest\/storage\/upload\/initiate/, (q, res) => json(res, slot(q.body.file_name))],
  [/^\/rest\/tokens\//, (q, res) => json(res, "a.b.c")],
  [/^\/store\/.*\/complete$/, (q, res) => json(res, {})],
  [/^\/store\/.*\/(\d+)$/, (q, res, [, n]) => json(res, { partNumber: Number(n), etag: `"e${n}"` }, 200, { etag: `"e${n}"` })],
  [/^\/store\//, (q, res) => json(res, {})],
];

const path = (url) => url.split("?")[0];
const query = (url) => [...new URL(url, base).searchParams].sort();

// A WebSocket's handshake, with its first message as a body; then an answer of one message, and its end.
function talk(req, socket) {
  const accept = createHash("sha1").update(`${req.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let bytes = Buffer.alloc(0);
  const q = { method: req.method, path: path(req.url), query: query(req.url), headers: req.headers, body: null, bytes: 0, where: "socket" };
  requests.push(q);
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    const short = (bytes[1] & 127) < 126, [start, length] = short ? [2, bytes[1] & 127] : [4, bytes.readUInt16BE(2)];
    if (bytes.length < start + 4 + length) return;
    const mask = bytes.subarray(start, start + 4);
    const data = bytes.subarray(start + 4, start + 4 + length).map((b, i) => b ^ mask[i % 4]);
    const opcode = bytes[0] & 15;
    bytes = bytes.subarray(start + 4 + length);
    if (opcode === 8) return socket.end(Buffer.from([0x88, 2, 3, 232]));
    q.body = { opcode, message: decode(data) };
    const answer = encode({ output: "42" });
    socket.write(Buffer.from([0x82, answer.length, ...answer]));
  });
}

async function record(req, res) {
  const hash = createHash("sha256");
  const chunks = [];
  let bytes = 0;
  for await (const chunk of req) {
    bytes += chunk.length;
    if (bytes < 1 << 20) chunks.push(chunk);
    hash.update(chunk);
  }
  const target = req.headers["x-fal-target-url"];
  const asked = path(target ? rewrite(target, "") : req.url);
  const where = asked.split("/")[1];
  const text = Buffer.concat(chunks).toString();
  const body = bytes === 0 ? null : where === "store" && !asked.endsWith("/complete") ? { bytes, sha256: hash.digest("hex") } : JSON.parse(text);
  const q = { method: req.method, path: path(req.url), query: query(req.url), headers: req.headers, body, bytes, where };
  requests.push(q);
  for (const [pattern, answer] of routes) {
    const found = pattern.exec(asked);
    if (found) return answer(q, res, found);
  }
  json(res, { detail: `Path ${req.url} not found` }, 404);
}

before(async () => {
  server = createServer((req, res) => record(req, res).catch((e) => json(res, { detail: String(e) }, 400)));
  server.on("upgrade", talk);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());

// What `make` sends, and what it gives.
async function recorded(make) {
  requests.length = polls = 0;
  const value = await make();
  return { value, sent: requests.slice() };
}

// ---- The two clients ----

const js = () => createFalClient({ credentials: KEY, fetch: (url, init) => fetch(rewrite(url, base), init) });
// The proxy has the key. fal-js is given none here: it would send it along, libfal, which has one, does not.
const proxied = () => createFalClient({ credentials: () => undefined, proxyUrl: { url: `${base}/proxy`, when: "always" }, fetch: (url, init) => fetch(url, init) });

// Nothing of this machine reaches fal's own hosts, even if libfal did not go through the proxy.
const environment = { PATH: process.env.PATH, https_proxy: "http://127.0.0.1:1" };

const libfal = (...args) =>
  new Promise((resolve, reject) =>
    execFile(program, args, { env: environment, timeout: 60000 }, (error, out, err) =>
      error ? reject(new Error(`libfal_calls ${args.join(" ")}: ${error.code} ${err}`)) : resolve(JSON.parse(out)),
    ),
  );

// Order is the call's, but for files on their way at the same time.
const key = (q) => `${q.where} ${q.method} ${q.path} ${JSON.stringify(q.body)}`;
const uploads = (q) => q.where === "store" || q.where === "rest";
function inOrder(list) {
  const files = list.filter(uploads).sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return list.map((q) => (uploads(q) ? files.shift() : q));
}

function same(theirs, ours) {
  const line = (q) => `${q.method} ${q.path}${q.query.length ? "?" + new URLSearchParams(q.query) : ""}`;
  const [a, b] = [inOrder(theirs), inOrder(ours)];
  assert.deepEqual(b.map(line), a.map(line));
  a.forEach((q, i) => {
    assert.deepEqual(significant(b[i]), significant(q));
    assert.deepEqual(b[i].body, q.body, line(q));
  });
}

// ---- The calls: JavaScript's way of what libfal_calls does under the same name, and what both give ----

const logs = { logs: true };
const polling = { input: INPUT, pollInterval: 1 };
const streamed = async (stream) => (await stream).done();
const file = (text, name, type) => new File([text], name, type && { type });
const pictures = () => ({
  prompt: "p", image_url: file("1", "one.png", "image/png"),
  more: { list: ["http://x/y.png", file("22", "two.png", "image/png")] },
});
const url = (r) => r.url;

const calls = {
  run: [(f) => f.run(ID, { input: INPUT })],
  run_path: [(f) => f.run(`${ID}/vision`, { input: INPUT })],
  run_legacy: [(f) => f.run("110602490-any-llm", { input: INPUT })],
  run_options: [(f) => f.run(ID, { input: INPUT, startTimeout: 12.5, storageSettings: LIFECYCLE })],
  run_files: [(f) => f.run(ID, { input: pictures() })],
  subscribe: [(f) => f.subscribe(`${ID}/vision`, polling)],
  subscribe_logs: [(f) => f.subscribe(ID, { ...polling, ...logs })],
  subscribe_streaming: [(f) => f.subscribe(ID, { input: INPUT, mode: "streaming", ...logs })],
  subscribe_namespace: [(f) => f.subscribe("workflows/me/flow/deep", polling), { app: "workflows/me/flow" }],
  // fal's stops at the status; libfal's goes on to the output.
  subscribe_to_status: [
    async (f) => (await f.queue.subscribeToStatus(ID, { requestId: "r1", pollInterval: 1 }), f.queue.result(ID, { requestId: "r1" })),
  ],
  submit: [(f) => f.queue.submit(ID, { input: INPUT })],
  submit_options: [
    (f) =>
      f.queue.submit(ID, {
        input: INPUT, webhookUrl: "https://me.example/hook?a=b&c=d e", priority: "low", hint: "a-hint", startTimeout: 30,
        storageSettings: LIFECYCLE, headers: { "X-Fal-Store-IO": "0", "X-Own": "a value" },
      }),
  ],
  submit_files: [(f) => f.queue.submit(ID, { input: pictures() })],
  status: [(f) => f.queue.status(`${ID}/vision`, { requestId: "r1" })],
  status_logs: [(f) => f.queue.status(ID, { requestId: "r1", logs: true })],
  result: [(f) => f.queue.result(`${ID}/vision`, { requestId: "r1" })],
  cancel: [(f) => f.queue.cancel(`${ID}/vision`, { requestId: "r1" }), { gives: () => undefined }],
  stream: [(f) => streamed(f.stream(ID, { input: INPUT }))],
  stream_named: [(f) => streamed(f.stream(`${ID}/stream`, { input: INPUT }))],
  stream_status: [(f) => streamed(f.queue.streamStatus(`${ID}/vision`, { requestId: "r1" }))],
  stream_status_logs: [(f) => streamed(f.queue.streamStatus(ID, { requestId: "r1", logs: true }))],
  upload: [(f) => f.storage.upload(file("héllo", "a b.txt", "text/plain")), { gives: url }],
  upload_lifecycle: [(f) => f.storage.upload(file("bytes", "x.bin"), { lifecycle: LIFECYCLE }), { gives: url }],
  upload_multipart: [(f) => f.storage.upload(file(new Uint8Array(91 << 20), "large.mp4", "video/mp4")), { gives: url }],
};

// Results of fal's `run` and `result` stand beside their request id.
const bare = (value) => (value?.data !== undefined ? value.data : value);

async function compare(name, [theirs, { app: at = ID, gives = (x) => x } = {}], client, ...where) {
  app = at;
  const a = await recorded(() => theirs(client()));
  const b = await recorded(() => libfal(name, ...where));
  assert.ok(a.sent.length > 0);
  same(a.sent, b.sent);
  assert.deepEqual(gives(b.value), bare(a.value));
}

describe("libfal sends what fal's own client sends", { concurrency: false }, () => {
  for (const [name, call] of Object.entries(calls)) it(`${name}`, () => compare(name, call, js, base));

  // fal-js asks for a token when it needs one; here for a stream in "client" mode.
  it("token", async () => {
    const warn = console.warn;
    console.warn = () => {};
    const a = await recorded(() => streamed(js().stream(ID, { input: INPUT, connectionMode: "client" })));
    console.warn = warn;
    const b = await recorded(() => libfal("token", base));
    same(a.sent.slice(0, 1), b.sent);
    assert.equal(b.value.token ?? b.value, "a.b.c");
  });

  // fal-js has no option for this host, but it looks the class up by its name.
  it("realtime", async () => {
    const { WebSocket } = globalThis;
    const { warn } = console;
    const connected = (resolve, reject) => {
      const c = js().realtime.connect(ID, { maxBuffering: 8, onError: reject, onResult: (r) => (c.close(), resolve(r)) });
      c.send(INPUT);
    };
    globalThis.WebSocket = class extends WebSocket {
      constructor(url) {
        super(rewrite(url.replace("wss:", "https:"), base.replace("http:", "ws:")));
      }
    };
    console.warn = () => {};
    try {
      const a = await recorded(() => new Promise(connected));
      const b = await recorded(() => libfal("realtime", base));
      same(a.sent, b.sent);
      assert.deepEqual(b.sent[1].body, { opcode: 2, message: INPUT });
      assert.equal(b.value.output, a.value.output);
    } finally {
      globalThis.WebSocket = WebSocket;
      console.warn = warn;
    }
  });

  it("nothing as an input: fal's sends no body, libfal an empty object, which servers take for the same", async () => {
    const a = await recorded(() => js().run(ID));
    const b = await recorded(() => libfal("run_nothing", base));
    assert.deepEqual([a.sent[0].body, b.sent[0].body], [null, {}]);
    same([{ ...a.sent[0], body: {}, bytes: 2 }], b.sent);
  });

  // With a proxy the addresses are fal's own, and stand in x-fal-target-url.
  for (const name of ["run", "run_options", "run_files", "submit", "submit_options", "status", "result", "cancel", "stream", "stream_status", "upload", "upload_multipart"])
    it(`${name}, through a proxy of the application's own`, () => compare(name, calls[name], proxied, "fal", `${base}/proxy`));
});
