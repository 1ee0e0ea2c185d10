// fal's JavaScript clients, their files untouched, against the real server with the mock upstream: every feature
// for every client. What they show is docs/compatibility.md.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { cell, lacks } from "./cells.mjs";
import { closes, collect, nonce, until } from "./common.mjs";
import { ID, cases, errors, told, watched as alone } from "./fal_cases.mjs";
import { KEY, clients, make, startProxy } from "./fal_clients.mjs";
import { startFront, startGate } from "./front.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

const ids = Object.keys(clients);
let mock, gate, server;
const watched = {}; // an upstream for each client, to count at
const proxies = {};

// One for each case that asks for it.
const narrow = Array.from({ length: 4 * ids.length }, (_, i) => `narrow${i}`);

function config() {
  const upstreams = {
    ok: "/ok",
    slow: "/sse-interval/10",
    late: "/delay/800",
    smile: "/surrogate-split",
    cut: "/cut/700",
    quiet: ["/ok", "keeps_nothing: true"],
    full: ["/silent", "concurrency: 1"],
    gate: gate.url,
  };
  // For each client its own: one that fails too often is left alone.
  for (const id of ids) {
    upstreams[`failing-${id}`] = "/status/503";
    upstreams[`overloaded-${id}`] = "/status/503";
    upstreams[`flaky-${id}`] = "/flaky/2/status/503";
    upstreams[`watched-${id}`] = `${watched[id].url}/silent`;
    upstreams[`endless-${id}`] = `${watched[id].url}/tokens/100000/sse-interval/20`;
  }
  const limits = "concurrent_calls: 1, queue_length: 2";
  const keys = [
    "  - { id: kid, secret: ksecret }",
    ...narrow.map((k) => `  - { id: ${k}, secret: ksecret, ${limits} }`),
  ];
  const aliases = "endpoint_aliases: { workflows/me/chat: fal-ai/any-llm }";
  return mockConfig(mock, upstreams, `keys:\n${keys.join("\n")}\n${aliases}\n`);
}

// The only slot of test/full is taken.
async function fill() {
  await make(clients.client, server.base).queue.submit(ID, { input: { prompt: "x", model: "test/full" } });
  await until("the slot", async () => (await mock.stats()).open === 1);
}

before(async () => {
  mock = await startMock();
  await Promise.all(ids.map(async (id) => (watched[id] = await startMock())));
  gate = await startGate(mock.url);
  server = await startServer(config(), { args: ["--grace", "1"] });
  await server.ready();
  await fill();
  const started = ids.filter((id) => clients[id].proxy).map(async (id) => {
    proxies[id] = await startProxy(clients[id].proxy, server.base);
  });
  await Promise.all(started);
});

after(async () => {
  await Promise.all(Object.values(proxies).map((p) => p.stop()));
  await server?.stop();
  gate?.stop();
  await Promise.all([mock, ...Object.values(watched)].map((m) => m?.stop()));
});

function world(id) {
  const kind = clients[id];
  const base = proxies[id]?.base ?? server.base;
  const fronts = [];
  return {
    id, kind, mock, gate, server, base,
    fal: make(kind, base),
    make: (options) => make(kind, options.base ?? base, options),
    narrowKey: () => `${narrow.pop()}:ksecret`,
    hold() {
      const prompt = nonce();
      return { prompt, ...gate.hold(prompt) };
    },
    async front(options) {
      const front = await startFront(base, options);
      fronts.push(front);
      return front;
    },
    closes: (leave) => closes(watched[id], leave),
    end: () => fronts.forEach((f) => f.stop()),
  };
}

function test(id, feature, run) {
  if (lacks(id, feature)) return;
  it(`${feature}: ${id}`, { timeout: 30000 }, async () => {
    const t = world(id);
    try {
      cell(id, feature, (await run(t)) ?? "yes");
    } finally {
      t.end();
    }
  });
}

const each = (table, run, of = ids) => {
  for (const [feature, what] of Object.entries(table)) for (const id of of) test(id, feature, (t) => run(what, t));
};

// The last answer, as it came.
async function lostStatus(error, t) {
  let last;
  const fetching = async (url, init) => (last = (await fetch(url, init)).clone());
  const seen = { ...t, make: (options) => t.make({ ...options, fetch: async (u, i) => (await fetching(u, i)).clone() }) };
  seen.fal = seen.make({});
  await error.provoke(seen);
  assert.equal(last.status, 200);
  assert.match(await last.text(), /"detail":/);
  return "status lost: 200";
}

// As many at once as this process drives without falling behind; what waits for seconds comes first.
const concurrency = 24;

describe("errors", { concurrency }, () => {
  each(errors, async (error, t) => {
    if (t.kind.losesStatus) return lostStatus(error, t);
    await assert.rejects(error.provoke(t), (e) => {
      assert.equal(e.status, error.status, e.message);
      told(e, t);
      error.check?.(e, t);
      return true;
    });
    await error.more?.(t);
    return error.text?.(t);
  });
});

describe("every feature", { concurrency }, () => {
  const waits = ([feature]) => (feature.startsWith("retry.") ? 0 : 1);
  each(Object.fromEntries(Object.entries(cases).sort((a, b) => waits(a) - waits(b))), (run, t) => run(t));
});

describe("what must be seen upstream", { concurrency }, () => {
  for (const id of ids) describe(id, { concurrency: 1 }, () => each(alone, (run, t) => run(t), [id]));
});

describe("each way here", { concurrency }, () => {
  for (const id of ids)
    for (const way of clients[id].ways)
      test(id, `way.${way}`, async (t) => {
        const fal = t.make({ way });
        const [a, b, c] = [nonce(), nonce(), nonce()];
        assert.ok((await fal.run(ID, { input: { prompt: a } })).data.output.startsWith(a));
        assert.ok((await fal.subscribe(ID, { input: { prompt: b }, logs: true, pollInterval: 20 })).data.output.startsWith(b));
        assert.ok((await collect(await fal.stream(ID, { input: { prompt: c } }))).last.output.startsWith(c));
        await assert.rejects(fal.run(ID, { input: {} }), { status: 422 });
      });
});
