// What fal's clients are asked to do, feature by feature. Each case gets `t`:
//   fal            the application's client; t.make({ key, headers, base, fetch }) makes another
//   server, mock   ours and the upstream
//   id             its name in features.json; upstreams that end with it are its own
//   front()        a proxy in between that counts; ended after the case
//   hold()         a prompt whose call of the model test/gate waits at `gate` until its release()
//   closes(leave)  sees `leave` close the only call of test/watched-ID or test/endless-ID
//   narrowKey()    a key with one call at a time and a queue of two; each case gets its own
//   kind           its row of fal_clients.mjs
// and may return the text of its cell, where that is not "yes".
import assert from "node:assert/strict";
import { collect, nonce, until } from "./common.mjs";

export const ID = "fal-ai/any-llm";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
export const NOBODY = "00000000-0000-4000-8000-000000000000";

async function ended(t, requestId, id = ID) {
  return t.fal.queue.subscribeToStatus(id, { requestId, pollInterval: 20 });
}

async function submitted(t, input, options = {}, id = ID) {
  return (await t.fal.queue.submit(id, { input, ...options })).request_id;
}

const status = (t, requestId) => t.fal.queue.status(ID, { requestId, logs: true });

function wholeLogs(logs) {
  assert.ok(logs.length > 0);
  for (const l of logs) {
    assert.ok(l.message && l.level && l.source === "USER", JSON.stringify(l));
    assert.ok(!Number.isNaN(Date.parse(l.timestamp)));
  }
}

// A subscribe whose upstream waits until the application has seen log lines of the running request.
async function heldUntilLogs(t, options) {
  const { prompt, release } = t.hold();
  const updates = [];
  let requestId;
  const r = await t.fal.subscribe(ID, {
    input: { prompt, model: "test/gate" },
    logs: true,
    ...options,
    onEnqueue: (id) => (requestId = id),
    onQueueUpdate(u) {
      updates.push({ ...u, logs: [...(u.logs ?? [])] });
      if (u.status === "IN_PROGRESS" && u.logs?.length > 0) release();
    },
  });
  assert.ok(r.data.output.startsWith(prompt));
  assert.equal(updates.at(-1).status, "COMPLETED");
  return { updates, requestId };
}

// Each event of a status stream brings the lines since the last: all of them once are what a poll shows.
async function sameLogs(t, requestId, lines) {
  const polled = (await status(t, requestId)).logs;
  assert.deepEqual(lines.map((l) => l.message), polled.map((l) => l.message));
}

export const cases = {
  async run({ fal }) {
    const prompt = nonce();
    const { data } = await fal.run(ID, {
      input: { prompt, system_prompt: "be brief", temperature: 0.5 },
      storageSettings: { expiresIn: "1h", initialAcl: { default: "forbid" } },
      startTimeout: 30,
    });
    assert.ok(data.output.startsWith(prompt), data.output);
    assert.equal(data.partial, false);
    assert.equal(data.error, null);
    assert.ok(data.usage.total_tokens > 0);
  },

  async "run.request_id"({ fal }) {
    const a = await fal.run(ID, { input: { prompt: nonce() } });
    const b = await fal.run(ID, { input: { prompt: nonce() } });
    assert.match(a.requestId, UUID);
    assert.notEqual(a.requestId, b.requestId);
  },

  async stream({ fal, kind }) {
    const prompt = nonce();
    const stream = await fal.stream(ID, { input: { prompt, model: "test/slow" } });
    const { events, last } = await collect(stream);
    if (kind.newest) assert.match(stream.requestId, UUID);
    assert.ok(events.length > 2);
    for (let i = 1; i < events.length; i++) assert.ok(events[i].output.startsWith(events[i - 1].output));
    assert.ok(events.slice(0, -1).every((e) => e.partial === true));
    assert.equal(last.partial, false);
    assert.ok(last.output.startsWith(prompt));
  },

  // The clients decode each piece of the network by itself: only ASCII survives every cut.
  async "stream.unicode"(t) {
    let raw;
    const fetching = async (url, init) => {
      const answer = await fetch(url, init);
      raw = answer.clone().text();
      return answer;
    };
    const stream = await t.make({ fetch: fetching }).stream(ID, { input: { prompt: "x", model: "test/smile" } });
    const { events, last } = await collect(stream);
    for (const e of events) assert.doesNotMatch(e.output, /\ufffd/);
    assert.match(last.output, /😀.*😀.*é/s);
    assert.match(await raw, /^[\x00-\x7f]+$/);
  },

  async subscribe(t) {
    const { prompt, release } = t.hold();
    const states = [];
    let enqueued;
    const r = await t.fal.subscribe(ID, {
      input: { prompt, model: "test/gate" },
      pollInterval: 20,
      onEnqueue: (id) => (enqueued = id),
      onQueueUpdate: (u) => (states.push(u.status), u.status === "IN_PROGRESS" && release()),
    });
    assert.ok(r.data.output.startsWith(prompt));
    assert.match(enqueued, UUID);
    if (!t.kind.bare) assert.equal(r.requestId, enqueued);
    assert.ok(states.includes("IN_PROGRESS"));
    assert.equal(states.at(-1), "COMPLETED");
  },

  async "subscribe.logs"(t) {
    const { updates } = await heldUntilLogs(t, { pollInterval: 20 });
    const running = updates.find((u) => u.status === "IN_PROGRESS" && u.logs.length > 0);
    wholeLogs(running.logs);
    assert.ok(updates.at(-1).logs.length > running.logs.length);
  },

  async "subscribe.streaming"(t) {
    const { updates, requestId } = await heldUntilLogs(t, { mode: "streaming" });
    wholeLogs(updates.at(-1).logs);
    await sameLogs(t, requestId, updates.at(-1).logs);
  },

  async submit({ fal }) {
    const s = await fal.queue.submit(ID, { input: { prompt: nonce() } });
    assert.equal(s.status, "IN_QUEUE");
    assert.match(s.request_id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.match(s.response_url, new RegExp(`^http.*/${ID}/requests/${s.request_id}$`));
    assert.equal(s.status_url, `${s.response_url}/status`);
    assert.equal(s.cancel_url, `${s.response_url}/cancel`);
    assert.equal(s.logs, null);
    assert.equal(typeof s.queue_position, "number");
  },

  async status(t) {
    const requestId = await submitted(t, { prompt: nonce() });
    const done = await until("the end", async () => {
      const s = await status(t, requestId);
      return s.status === "COMPLETED" && s;
    });
    wholeLogs(done.logs);
    assert.equal(typeof done.metrics.inference_time, "number");
    assert.equal((await t.fal.queue.status(ID, { requestId })).logs, null);
  },

  async "status.stream"(t) {
    const { prompt, release } = t.hold();
    const requestId = await submitted(t, { prompt, model: "test/gate" });
    const stream = await t.fal.queue.streamStatus(ID, { requestId, logs: true });
    stream.on("data", (e) => e.status === "IN_PROGRESS" && e.logs?.length > 0 && release());
    const { events, last } = await collect(stream);
    assert.equal(last.status, "COMPLETED");
    assert.equal(last.request_id, requestId);
    assert.ok(events.some((e) => e.status === "IN_PROGRESS"));
    assert.equal(events.filter((e) => e.status === "COMPLETED").length, 1);
    await sameLogs(t, requestId, events.flatMap((e) => e.logs ?? []));
  },

  async result(t) {
    const prompt = nonce();
    const requestId = await submitted(t, { prompt });
    await ended(t, requestId);
    for (let i = 0; i < 2; i++) {
      const r = await t.fal.queue.result(ID, { requestId });
      assert.ok(r.data.output.startsWith(prompt));
      if (!t.kind.bare) assert.equal(r.requestId, requestId);
    }
  },

  async "cancel.queued"(t) {
    const { fal, requestId } = await behind(t, 1);
    assert.equal((await fal.queue.status(ID, { requestId })).status, "IN_QUEUE");
    await fal.queue.cancel(ID, { requestId });
    const last = await fal.queue.subscribeToStatus(ID, { requestId, pollInterval: 20 });
    assert.equal(last.error_type, "client_cancelled");
  },

  // The low one was there before the normal one, and comes after it.
  async priority(t) {
    const { first, fal, input } = await behind(t, 0);
    const low = input();
    const normal = input();
    await fal.queue.submit(ID, { input: low, priority: "low" });
    await fal.queue.submit(ID, { input: normal, priority: "normal" });
    first.release();
    const order = () => t.gate.arrived.map((a) => a.prompt).filter((p) => p === low.prompt || p === normal.prompt);
    await until("both", () => order().length === 2);
    assert.deepEqual(order(), [normal.prompt, low.prompt]);
  },

  async hint(t) {
    const front = await t.front();
    const fal = t.make({ base: front.base });
    const { request_id: requestId } = await fal.queue.submit(ID, { input: { prompt: nonce() }, hint: "talk-7" });
    await ended(t, requestId);
    await fal.queue.result(ID, { requestId });
    assert.equal(front.seen[0].headers["x-fal-runner-hint"], "talk-7");
    assert.match(front.seen.at(-1).answered["x-fal-runner-hints"], /talk-7/);
  },

  // x-fal-no-retry: what fails in a passing way is tried once.
  async headers(t) {
    const headers = { "X-Fal-No-Retry": "1" };
    const prompt = nonce();
    const fal = t.kind.newest ? t.fal : t.make({ headers });
    const input = { prompt, model: `test/failing-${t.id}` };
    const { request_id: requestId } = await fal.queue.submit(ID, { input, ...(t.kind.newest && { headers }) });
    await ended(t, requestId);
    assert.equal((await t.mock.stats()).calls_by_prompt[prompt], 1);
    return t.kind.newest ? "yes" : "by `requestMiddleware`";
  },

  async "ids.path"({ fal }) {
    for (const id of [`${ID}/enterprise`, "workflows/me/chat"]) {
      const input = { prompt: nonce(), model: "test/quiet" };
      const r = await fal.subscribe(id, { input, pollInterval: 20 });
      assert.ok(r.data.output.startsWith(input.prompt), id);
    }
    // A whole address in place of the id: the client adds a slash.
    const input = { prompt: nonce() };
    assert.ok((await fal.run(`https://fal.run/${ID}`, { input })).data.output.startsWith(input.prompt));
  },

  async "ids.legacy"({ fal }) {
    const prompt = nonce();
    const r = await fal.subscribe("110602490-any-llm", { input: { prompt }, pollInterval: 20 });
    assert.ok(r.data.output.startsWith(prompt));
  },

  async endpoints({ fal }) {
    const data = "data:image/png;base64,iVBORw0KGgo=";
    const inputs = {
      "fal-ai/any-llm/vision": { image_url: "https://example.org/a.png" },
      "openrouter/router": {},
      "openrouter/router/vision": { image_urls: [data] },
      "openrouter/router/audio": { audio_url: "https://example.org/a.wav" },
      "openrouter/router/video": { video_urls: ["https://example.org/a.mp4"] },
    };
    for (const [id, media] of Object.entries(inputs)) {
      const prompt = nonce();
      const r = await fal.run(id, { input: { prompt, model: "test/ok", ...media } });
      assert.ok(r.data.output.startsWith(prompt), id);
    }
  },

  async "openai.queue"({ fal }) {
    const prompt = nonce();
    const input = { model: "test/ok", messages: [{ role: "user", content: prompt }] };
    const id = "openrouter/router/openai/v1/chat/completions";
    const { data } = await fal.subscribe(id, { input, pollInterval: 20 });
    assert.ok(data.choices[0].message.content.startsWith(prompt));
    assert.ok(data.usage.total_tokens > 0);
  },

  async "error.stream.cut"({ fal, kind }) {
    const stream = await fal.stream(ID, { input: { prompt: "x", model: "test/cut" } });
    const seen = [];
    stream.on("data", (e) => seen.push(e));
    const done = stream.done();
    if (kind.losesStatus) await done;
    else await assert.rejects(done);
    assert.equal(seen.at(-1).partial, true);
    assert.equal(typeof seen.at(-1).error, "string");
    return kind.losesStatus ? "yes: by `partial` and `error`" : "yes";
  },

  async "retry.429"(t) {
    const { key, input } = await behind(t, 2);
    const front = await t.front();
    const submit = t.make({ base: front.base, key }).queue.submit(ID, { input: input() });
    if (t.kind.losesStatus) return lostOnce(await submit, front);
    await assert.rejects(submit, { status: 429 });
    assert.equal(front.seen.length, t.kind.newest ? 4 : 1);
    return t.kind.newest ? "repeats 3 times" : "none: sent once";
  },

  // The upstream refuses two calls of this prompt: whoever asks a third time has an answer.
  async "retry.503"(t) {
    const front = await t.front();
    const prompt = nonce();
    const run = t.make({ base: front.base }).run(ID, { input: { prompt, model: `test/flaky-${t.id}` } });
    if (t.kind.losesStatus) return lostOnce(await run, front);
    if (t.kind.newest) assert.ok((await run).data.output.startsWith(prompt));
    else await assert.rejects(run, { status: 503 });
    assert.equal((await t.mock.stats()).calls_by_prompt[prompt], t.kind.newest ? 3 : 1);
    return t.kind.newest ? "repeats, and is answered" : "none: sent once";
  },

  async "retry.504.user"(t) {
    const front = await t.front();
    const requestId = await startTimeout(t);
    const result = t.make({ base: front.base }).queue.result(ID, { requestId });
    if (t.kind.losesStatus) return lostOnce(await result, front);
    await assert.rejects(result, { status: 504 });
    assert.equal(front.seen.length, 1);
    return t.kind.newest ? "none, as it should be" : "none: sent once";
  },

  // The answer to the first submit is lost. No client says that its second one is the same request.
  async "retry.connection"(t) {
    let lost = 0;
    const front = await t.front({ lose: () => lost++ === 0 });
    const prompt = nonce();
    const submit = t.make({ base: front.base }).queue.submit(ID, { input: { prompt } });
    if (!t.kind.newest) {
      await assert.rejects(submit);
      assert.equal(front.seen.length, 1);
      return "none: sent once";
    }
    await submit;
    assert.equal(front.seen.length, 2);
    await until("both requests", async () => (await t.mock.stats()).calls_by_prompt[prompt] === 2);
    return "repeats: two requests";
  },

  async "abort.subscribe"(t) {
    const { prompt, release } = t.hold();
    const stop = new AbortController();
    let requestId;
    const waiting = t.fal.subscribe(ID, {
      input: { prompt, model: "test/gate" },
      pollInterval: 20,
      abortSignal: stop.signal,
      onEnqueue: (id) => (requestId = id),
      onQueueUpdate: (u) => u.status === "IN_PROGRESS" && stop.abort(),
    });
    await assert.rejects(waiting, { name: "AbortError" });
    release();
    assert.ok(!(await ended(t, requestId)).error);
  },
};

// A key with one call at a time, whose call is held at the gate, and `waiting` requests behind it.
async function behind(t, waiting) {
  const key = t.narrowKey();
  const fal = t.make({ key });
  const first = t.hold();
  const input = () => ({ prompt: nonce(), model: "test/gate" });
  await fal.queue.submit(ID, { input: { ...input(), prompt: first.prompt } });
  await first.arrived;
  let requestId;
  for (let i = 0; i < waiting; i++) requestId = (await fal.queue.submit(ID, { input: input() })).request_id;
  return { key, fal, first, input, requestId };
}

// Through a proxy that answers everything with 200 there is nothing to repeat.
function lostOnce(value, front) {
  assert.ok((value.data ?? value).detail);
  assert.equal(front.seen.length, 1);
  assert.ok(front.seen[0].status < 300);
  return "none: status lost";
}

// A request that nobody began in time.
async function startTimeout(t) {
  const input = { prompt: nonce(), model: "test/full" };
  const fal = t.kind.newest ? t.fal : t.make({ headers: { "x-fal-request-timeout": "1.1" } });
  const { request_id: requestId } = await fal.queue.submit(ID, { input, startTimeout: 1.1 });
  const last = await ended(t, requestId);
  assert.equal(last.error_type, "request_timeout");
  return requestId;
}

// What every error says: a sentence, which these clients show as their message, and the request's id.
export function told(e, t) {
  assert.ok(e.body.detail, JSON.stringify(e.body));
  assert.equal(typeof e.body.message, "string");
  assert.equal(e.message, e.body.message);
  if (t.kind.newest) assert.match(e.requestId, UUID);
}

// What goes wrong, and how the client's ApiError says so. Through a proxy that loses the status the same call is
// made, and the status is seen to be lost.
export const errors = {
  "error.401": {
    provoke: (t) => t.make({ key: "kid:wrong" }).run(ID, { input: { prompt: "x" } }),
    status: 401,
    async more(t) {
      const fal = t.make({ key: "kid:wrong" });
      await assert.rejects(fal.queue.submit(ID, { input: { prompt: "x" } }), { status: 401 });
      // Refused before the body is read, and heard by a client that is still sending it.
      await assert.rejects(fal.run(ID, { input: { prompt: "x".repeat(5 << 20) } }), { status: 401 });
    },
  },
  "error.404.app": { provoke: (t) => t.fal.run("fal-ai/nothing-here", { input: { prompt: "x" } }), status: 404 },
  "error.404.request": {
    provoke: (t) => t.fal.queue.result(ID, { requestId: NOBODY }),
    status: 404,
    async more(t) {
      await assert.rejects(t.fal.queue.status(ID, { requestId: NOBODY }), { status: 404 });
      await assert.rejects(t.fal.queue.cancel(ID, { requestId: NOBODY }), { status: 404 });
    },
  },
  "error.400": {
    provoke: async (t) => {
      const requestId = await submitted(t, { prompt: nonce(), model: "test/full" });
      return t.fal.queue.result(ID, { requestId });
    },
    status: 400,
  },
  "error.422.run": {
    provoke: (t) => t.fal.run(ID, { input: {} }),
    status: 422,
    check(e) {
      assert.equal(e.name, "ValidationError");
      assert.equal(e.getFieldErrors("prompt")[0].type, "missing");
    },
    more: (t) => assert.rejects(t.fal.run(ID, {}), { status: 422 }), // no body at all
  },
  "error.422.result": {
    async provoke(t) {
      const requestId = await submitted(t, { prompt: 1, temperature: 3 });
      assert.ok((await ended(t, requestId)).error);
      return t.fal.queue.result(ID, { requestId });
    },
    status: 422,
    check(e) {
      assert.deepEqual(
        e.fieldErrors.map((f) => [f.loc.join("."), f.type]),
        [["body.prompt", "string_type"], ["body.temperature", "less_than_equal"]],
      );
    },
    more: (t) => assert.rejects(t.fal.subscribe(ID, { input: {}, mode: "streaming" }), { status: 422 }),
  },
  "error.429": {
    provoke: (t) => t.fal.run(ID, { input: { prompt: nonce(), model: "test/full" } }),
    status: 429,
    check: (e) => assert.equal(e.body.error_type, "concurrent_requests_limit"),
  },
  "error.503": {
    provoke: (t) => t.fal.run(ID, { input: { prompt: nonce(), model: `test/overloaded-${t.id}` } }),
    status: 503,
    check: (e) => assert.equal(e.body.error_type, "runner_scheduling_failure"),
  },
  "error.504.user": {
    provoke: async (t) => t.fal.queue.result(ID, { requestId: await startTimeout(t) }),
    status: 504,
    check(e, t) {
      assert.equal(e.body.error_type, "request_timeout");
      if (t.kind.newest) assert.deepEqual([e.timeoutType, e.isUserTimeout], ["user", true]);
    },
    text: (t) => (t.kind.newest ? "yes" : "status and `error_type`"),
  },
  "error.stream": {
    provoke: async (t) => (await t.fal.stream(ID, { input: {} })).done(),
    status: 422,
  },
};

// These count at an upstream of the client's own, one after the other.
export const watched = {
  async cancel(t) {
    const requestId = await submitted(t, { prompt: "x", model: `test/watched-${t.id}` });
    await t.closes(() => t.fal.queue.cancel(ID, { requestId }));
    assert.equal((await ended(t, requestId)).error_type, "client_cancelled");
    if (t.kind.losesStatus) return;
    await assert.rejects(t.fal.queue.result(ID, { requestId }), { status: 499 });
    await assert.rejects(t.fal.queue.cancel(ID, { requestId }), { status: 400 });
  },

  async "timeout.subscribe"(t) {
    const input = { prompt: "x", model: `test/watched-${t.id}` };
    const waiting = t.fal.subscribe(ID, { input, pollInterval: 20, timeout: 1000 });
    const refused = assert.rejects(waiting, /timed out waiting for the request to complete after 1000ms/);
    await t.closes(() => refused);
  },

  async "abort.run"(t) {
    const stop = new AbortController();
    const input = { prompt: "x", model: `test/watched-${t.id}` };
    const call = t.fal.run(ID, { input, abortSignal: stop.signal });
    await t.closes(() => (stop.abort(), assert.rejects(call, { name: "AbortError" })));
  },

  async "abort.stream"(t) {
    const stream = await t.fal.stream(ID, { input: { prompt: "x", model: `test/endless-${t.id}` } });
    stream.done().catch(() => {});
    await new Promise((resolve) => stream.on("data", resolve));
    await t.closes(() => stream.abort());
  },
};
