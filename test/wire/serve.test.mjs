// How the server starts, refuses to start, and ends; and that callers who leave at any moment leave nothing behind.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { anyllm, mockConfig, sleep, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
let mock, folder;

before(async () => {
  mock = await startMock();
  folder = mkdtempSync(join(tmpdir(), "anyllm-serve-"));
});

after(async () => {
  await mock?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function until(what, ok, ms = 20000) {
  for (const end = Date.now() + ms; !(await ok()); await sleep(10)) assert.ok(Date.now() < end, `not in time: ${what}`);
}

const clean = (log) => assert.doesNotMatch(log, /AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer/);

// A start that is to fail: { code, text }.
async function refused(args, { config = "", env = {}, mode = 0o600 } = {}) {
  const home = mkdtempSync(join(folder, "home-"));
  const file = join(home, "anyllm.yaml");
  writeFileSync(file, config);
  chmodSync(file, mode);
  const child = spawn(anyllm, ["serve", "--config", file, ...args], {
    env: { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const s of [child.stdout, child.stderr]) s.on("data", (d) => (text += d));
  const code = await new Promise((resolve) => child.on("close", resolve));
  clean(text);
  return { code, text, home };
}

const one = (mock) => mockConfig(mock, { ok: "/ok" });
const listen = ["--listen", "127.0.0.1:0"];

describe("a start that cannot succeed says why in one line and with its exit code", () => {
  it("port in use: 69", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.on("listening", resolve));
    const r = await refused(["--listen", `127.0.0.1:${taken.address().port}`, "--data", join(folder, "d1")], { config: one(mock) });
    taken.close();
    assert.equal(r.code, 69, r.text);
    assert.match(r.text, /address already in use.*--listen/i);
  });

  it("no data folder can be made there: 73", async () => {
    writeFileSync(join(folder, "file"), "");
    const r = await refused([...listen, "--data", join(folder, "file/below")], { config: one(mock) });
    assert.equal(r.code, 73, r.text);
    assert.match(r.text, /--data/);
  });

  it("a database that is none: 78", async () => {
    const data = join(folder, "d2");
    mkdirSync(data);
    writeFileSync(join(data, "anyllm.db"), "not a database at all, but long enough to be taken for one".repeat(100));
    const r = await refused([...listen, "--data", data], { config: one(mock) });
    assert.equal(r.code, 78, r.text);
  });

  it("a folder where the database should be: 73", async () => {
    const data = join(folder, "d3");
    mkdirSync(join(data, "anyllm.db"), { recursive: true });
    const r = await refused([...listen, "--data", data], { config: one(mock) });
    assert.equal(r.code, 73, r.text);
  });

  it("a store of another kind: 78", async () => {
    const r = await refused([...listen, "--data", join(folder, "d4"), "--store", "postgresql://x"], { config: one(mock) });
    assert.equal(r.code, 78, r.text);
  });

  it("no upstream and no model: 66", async () => {
    const r = await refused([...listen, "--data", join(folder, "d5")]);
    assert.equal(r.code, 66, r.text);
  });

  it("a second server on the same data folder: 73", async () => {
    const server = await startServer(one(mock));
    const r = await refused([...listen, "--data", server.data], { config: one(mock) });
    assert.equal(r.code, 73, r.text);
    assert.match(r.text, /in use by another server/);
    assert.equal((await server.stop()).code, 0);
    clean(server.log());
  });
});

describe("--check", () => {
  const check = (config, args = [], options = {}) => refused(["--check", ...args], { config, ...options });
  const faults = {
    "a catalogue that is not there: 78": [() => `catalogue: ${folder}/nowhere.json\n${one(mock)}`, 78],
    "a model file that is not there: 66": [() => `upstreams: { l: { kind: local, model: ${folder}/no.gguf } }`, 66],
    "a CA file that is not there: 78": [() => `upstreams: { l: { kind: openai, base_url: "https://h/v1", ca_file: ${folder}/no } }`, 78],
    "a proxy that is no address: 78": [() => `trusted_proxies: [front]\n${one(mock)}`, 78],
    "a name to listen on: 78": [() => `listen: front:80\nkeys: [{ id: a, secret: "s3cret" }]\n${one(mock)}`, 78],
    "a store that is not known: 78": [() => `store: postgresql://x\n${one(mock)}`, 78],
  };
  for (const [name, [config, code]] of Object.entries(faults))
    it(`finds ${name}`, async () => {
      const r = await check(config());
      assert.equal(r.code, code, r.text);
      assert.doesNotMatch(r.text, /is right/);
    });

  it("of a right one ends with 0 and makes no data folder", async () => {
    const data = join(folder, "never");
    const r = await check(one(mock), ["--data", data]);
    assert.equal(r.code, 0, r.text);
    assert.equal(existsSync(data), false);
  });
});

const post = (server, path, body, init = {}) =>
  fetch(server.base + path, { method: "POST", body: JSON.stringify(body), ...init });

async function stopped(server) {
  const e = await server.stop();
  clean(server.log());
  assert.deepEqual(e, { code: 0, signal: null }, server.log());
}

it("a submit sent as soon as it listens is taken", async () => {
  for (let i = 0; i < 10; i++) {
    const server = await startServer(one(mock));
    assert.equal((await post(server, `/queue/${ID}`, { prompt: "x" })).status, 200);
    await stopped(server);
  }
});

describe("the end", () => {
  it("comes with exit code 0 however early SIGTERM is", async () => {
    for (let i = 0; i < 5; i++) await stopped(await startServer(one(mock)));
  });

  it("does not cut a request that is on its way when SIGTERM comes", async () => {
    const server = await startServer(one(mock));
    await server.ready();
    const port = Number(new URL(server.base).port);
    const sockets = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const s = connect(port, "127.0.0.1");
        s.text = "";
        s.on("data", (d) => (s.text += d));
        s.on("error", () => {});
        s.closed_ = new Promise((resolve) => s.on("close", resolve));
        const request = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        s.write(request);
        await until("an answer", () => s.text.includes("ok"));
        s.text = "";
        s.again = () => s.write(request);
        return s;
      }),
    );
    const end = stopped(server);
    for (const s of sockets) s.again();
    await Promise.all(sockets.map((s) => s.closed_));
    await end;
    for (const s of sockets) assert.match(s.text, /^HTTP\/1.1 200/);
  });

  it("after the grace gives running jobs back, without counting them as crashed", async () => {
    const data = mkdtempSync(join(folder, "grace-"));
    let server, id;
    for (let i = 0; i < 4; i++) {
      await mock.reset();
      server = await startServer(mockConfig(mock, { up: "/silent" }), { data, args: ["--grace", "1"] });
      if (i === 0) id = (await (await post(server, `/queue/${ID}`, { prompt: "nonce:grace" })).json()).request_id;
      const direct = post(server, `/run/${ID}`, { prompt: "x" }).then(
        () => "answered",
        () => "cut",
      );
      await until("both calls", async () => (await mock.stats()).open >= 2);
      await stopped(server);
      assert.equal(await direct, "cut");
      assert.match(server.log(), /event=grace_over/);
    }
    server = await startServer(mockConfig(mock, { up: "/ok" }), { data });
    const result = () => server.get(`/queue/${ID}/requests/${id}`);
    await until("the result", async () => (await result()).status !== 400);
    assert.match((await (await result()).json()).output, /nonce:grace/);
    await stopped(server);
  });

  it("comes at once with the second signal", async () => {
    const server = await startServer(mockConfig(mock, { up: "/silent" }));
    await server.ready();
    await mock.reset();
    post(server, `/run/${ID}`, { prompt: "x" }).catch(() => {});
    await until("the call", async () => (await mock.stats()).open >= 1);
    server.child.process.kill("SIGTERM");
    await server.child.line(/event=stopping/);
    await stopped(server);
    assert.match(server.log(), /event=stopping_now/);
  });
});

it("with stderr closed no file gets the log", async () => {
  const data = join(folder, "closed");
  const file = join(folder, "closed.yaml");
  writeFileSync(file, one(mock), { mode: 0o600 });
  const free = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => free.on("listening", resolve));
  const port = free.address().port;
  await new Promise((resolve) => free.close(resolve));
  const args = `serve --config ${file} --data ${data} --listen 127.0.0.1:${port} --log-level trace`;
  const child = spawn("sh", ["-c", `exec ${anyllm} ${args} 0<&- 1>&- 2>&-`], { env: { PATH: process.env.PATH, HOME: folder } });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const base = `http://127.0.0.1:${port}`;
  await until("readiness", async () => (await fetch(`${base}/readyz`).catch(() => null))?.status === 200);
  assert.equal((await post({ base }, `/queue/${ID}`, { prompt: "x" })).status, 200);
  await sleep(200);
  child.kill("SIGTERM");
  assert.equal(await ended, 0);
  const files = readdirSync(data, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
  assert.ok(files.length > 0);
  for (const f of files) assert.ok(!readFileSync(join(f.parentPath ?? f.path, f.name)).includes("event="), f.name);
});

// What a caller does on one connection: sends `text`, waits for what it wants, leaves by FIN or RST.
async function leave(port, text, { after: ms = 0, until, reset }) {
  const s = connect(port, "127.0.0.1");
  let got = "";
  s.on("data", (d) => (got += d));
  s.on("error", () => {});
  s.write(text);
  for (const end = Date.now() + 5000; until && !until.test(got) && Date.now() < end; ) await sleep(2);
  await sleep(ms);
  if (reset) s.resetAndDestroy();
  else s.destroy();
}

const request = (method, path, body = "", more = 0) =>
  `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length + more}\r\n\r\n${body}`;
const ask = (name) => JSON.stringify({ prompt: "what is it?", model: `test/${name}` });

// Every moment at which a caller can leave.
const stages = {
  "in the head": [() => "POST /run/fal-ai/any-llm HTTP/1.1\r\nHost: 127.0", {}],
  "in the body": [() => request("POST", `/run/${ID}`, '{"prompt":', 100), { after: 5 }],
  "in the body of a submit": [() => request("POST", `/queue/${ID}`, '{"prompt":', 100), { after: 5 }],
  "before the upstream's head": [() => request("POST", `/run/${ID}`, ask("silent")), { after: 20 }],
  "before the first token": [() => request("POST", `/run/${ID}/stream`, ask("silent")), { after: 20 }],
  "in the stream": [() => request("POST", `/run/${ID}/stream`, ask("slow")), { until: /data:.*data:/s }],
  "at the end of the stream": [() => request("POST", `/run/${ID}/stream`, ask("slow")), { until: /"partial":false/ }],
  "as the answer comes": [() => request("POST", `/run/${ID}`, ask("ok")), { after: 1 }],
  "while a submit is written": [() => request("POST", `/queue/${ID}`, ask("ok")), {}],
  "while a submit is written, a little later": [() => request("POST", `/queue/${ID}`, ask("ok")), { after: 1 }],
  "while a status waits": [(id) => request("GET", `/queue/${ID}/requests/${id}/status?logs=1`), {}],
  "while a result waits": [(id) => request("GET", `/queue/${ID}/requests/${id}`), {}],
  "while a cancel waits": [(id) => request("PUT", `/queue/${ID}/requests/${id}/cancel`), {}],
  "in a pipeline": [(id) => request("GET", `/queue/${ID}/requests/${id}`).repeat(20) + request("POST", `/run/${ID}`, ask("slow")), { after: 2 }],
};

describe("callers who leave", () => {
  const config = () => mockConfig(mock, { ok: "/ok", slow: "/sse-interval/5", silent: "/silent" });
  const done = async (server) => {
    const r = await post(server, `/queue/${ID}`, { prompt: "x", model: "test/ok" });
    const id = (await r.json()).request_id;
    await until("a result", async () => (await server.get(`/queue/${ID}/requests/${id}`)).status === 200);
    return id;
  };

  for (const [name, [text, how]] of Object.entries(stages))
    it(`${name}, by FIN and by RST, leave nothing running`, async () => {
      const server = await startServer(config());
      await server.ready();
      await mock.reset();
      const id = await done(server);
      const port = Number(new URL(server.base).port);
      await Promise.all(Array.from({ length: 20 }, (_, i) => leave(port, text(id), { ...how, reset: i % 2 === 0 })));
      const metrics = async () => (await server.get("/metrics")).text();
      await until("no call runs", async () => !/anyllm_upstream_in_flight\{[^}]*\} [1-9]/.test(await metrics()));
      await stopped(server);
    });

  it("all at once, with SIGTERM in the middle, break nothing", async () => {
    for (let round = 0; round < 3; round++) {
      const server = await startServer(config(), { args: ["--grace", "2"] });
      await server.ready();
      const id = await done(server);
      const port = Number(new URL(server.base).port);
      let on = true;
      const loops = Object.values(stages).map(async ([text, how]) => {
        for (let i = 0; on; i++) await leave(port, text(id), { ...how, until: undefined, after: how.after ?? i % 3, reset: i % 2 === 0 });
      });
      await sleep(500);
      const end = stopped(server);
      await sleep(200);
      on = false;
      await Promise.all(loops);
      await end;
    }
  });
});
