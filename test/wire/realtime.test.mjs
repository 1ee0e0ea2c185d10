// fal.realtime.connect of fal's JavaScript clients: through fal's own names, and at a plain address where the application
// replaces WebSocket. What a socket says is in test_realtime.py.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { cell } from "./cells.mjs";
import { collect, nonce, until } from "./common.mjs";
import { KEY, clients, make } from "./fal_clients.mjs";
import { application, atFalsNames, forget, skip } from "./fals_names.mjs";
import { talk } from "./realtime_talk.mjs";
import { mockConfig, sleep, startMock, startServer } from "./server.mjs";

const ID = "fal-ai/any-llm";
const [id, secret] = KEY.split(":");
const keys = `keys: [{ id: ${id}, secret: ${secret} }]\n`;

let mock;
before(async () => (mock = await startMock()));
after(() => mock?.stop());

describe("through fal's own names", { skip, concurrency: 6 }, () => {
  let server;
  before(async () => {
    server = await startServer(mockConfig(mock, { ok: "/ok" }, keys), { args: atFalsNames() });
    await server.ready();
  });
  after(() => server?.stop());

  for (const client of Object.keys(clients))
    it(`realtime: ${client}`, { timeout: 60000 }, async () => {
      const { code, text } = await application("realtime_app.mjs", client);
      assert.equal(code, 0, text);
      assert.match(text, /^done$/m);
      cell(client, "realtime");
    });
});

describe("at a plain address", () => {
  let server;
  const plain = globalThis.WebSocket;
  before(async () => {
    server = await startServer(mockConfig(mock, { ok: "/ok", slow: "/tokens/20/sse-interval/50" }, `${keys}realtime_idle: 1\n`));
    await server.ready();
    const base = server.base.replace("http", "ws");
    globalThis.WebSocket = class extends plain {
      constructor(url) {
        super(String(url).replace("wss://fal.run", `${base}/run`));
      }
    };
  });
  after(async () => {
    globalThis.WebSocket = plain;
    await server?.stop();
  });

  const token = async (body, key = KEY) => {
    const response = await server.get("/rest/tokens/", {
      method: "POST",
      headers: { Authorization: `Key ${key}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: response.status, type: response.headers.get("content-type"), body: await response.json() };
  };

  for (const client of ["client", "client-1.0", "serverless-client"])
    it(`a conversation with ${client}`, { timeout: 60000 }, () => talk(make(clients[client], server.base), clients[client]));

  it("JSON both ways with codecs of the application's own", { timeout: 60000 }, () =>
    talk(make(clients.client, server.base), clients.client, {
      encodeMessage: (input) => JSON.stringify(input),
      decodeMessage: (data) => JSON.parse(data),
    }));

  it("a token that opens nothing is fetched anew for the next message", { timeout: 60000 }, async () => {
    const good = (await token({ allowed_apps: [ID] })).body;
    const given = ["not.a.token", good];
    const results = [];
    const errors = [];
    const connection = make(clients.client, server.base).realtime.connect(ID, {
      throttleInterval: 0,
      tokenProvider: async () => given.shift(),
      onResult: (r) => results.push(r),
      onError: (e) => errors.push(e),
    });
    connection.send({ prompt: nonce() });
    await until("the refusal", () => errors.length > 0);
    assert.deepEqual([errors[0].status, errors[0].message], [1008, "Error closing the connection: Unauthorized"]);
    connection.send({ prompt: nonce() });
    await until("an answer", () => results.some((r) => r.partial === false));
    connection.close();
  });

  it("idle ends quietly, and the next message connects again", { timeout: 60000 }, async () => {
    const results = [];
    const errors = [];
    const connection = make(clients.client, server.base).realtime.connect(ID, {
      throttleInterval: 0,
      onResult: (r) => results.push(r),
      onError: (e) => errors.push(e),
    });
    for (let i = 1; i <= 2; i++) {
      connection.send({ prompt: nonce() });
      await until("an answer", () => results.filter((r) => r.partial === false).length === i);
      await sleep(1500);
    }
    assert.deepEqual(errors, []);
    connection.close();
  });

  it("a stream of the browser's own opens with a token", { timeout: 60000 }, async () => {
    const stream = await make(clients.client, server.base).stream(ID, { input: { prompt: nonce(), model: "test/slow" }, connectionMode: "client" });
    const { events, last } = await collect(stream);
    assert.ok(events.length > 3 && last.partial === false);
  });

  it("a token is a JWT that the published keys verify", async () => {
    const { status, type, body } = await token({ allowed_apps: ["any-llm"], token_expiration: 60 });
    assert.deepEqual([status, type], [200, "application/json"]);
    const [head, claims, signature] = body.split(".");
    const { kid, alg, typ } = JSON.parse(Buffer.from(head, "base64url"));
    assert.deepEqual([alg, typ], ["EdDSA", "JWT"]);
    const { sub, key_id, allowed_apps, iat, exp } = JSON.parse(Buffer.from(claims, "base64url"));
    assert.deepEqual([sub, key_id.replace(/\.[0-9a-f]{8}$/, ""), allowed_apps, exp - iat], [id, id, ["any-llm"], 60]);
    for (const path of ["/.well-known/jwks.json", "/rest/.well-known/jwks.json"]) {
      const set = await (await fetch(server.base + path)).json();
      const jwk = set.keys.find((k) => k.kid === kid);
      assert.ok(verify(null, Buffer.from(`${head}.${claims}`), createPublicKey({ key: jwk, format: "jwk" }), Buffer.from(signature, "base64url")));
    }
  });

  const wrong = [
    {}, [], { allowed_apps: [] }, { allowed_apps: "any-llm" }, { allowed_apps: [5] }, { allowed_apps: ["a b"] }, { allowed_apps: ["a//b"] },
    { allowed_apps: Array(17).fill("a") }, { allowed_apps: ["a".repeat(129)] },
    ...[0, -1, 1.5, 3601, "60", 1e300, true].map((token_expiration) => ({ allowed_apps: ["a"], token_expiration })),
  ];
  for (const body of wrong)
    it(`no token for ${JSON.stringify(body).slice(0, 60)}`, async () => {
      const answer = await token(body);
      assert.equal(answer.status, 422);
      assert.equal(answer.body.detail[0].loc[0], "body");
    });

  it("no token without a key", async () => assert.equal((await token({ allowed_apps: ["a"] }, "kid:wrong")).status, 401));
});

after(forget);
