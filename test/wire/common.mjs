// Small things that several suites need.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

let count = 0;
// A prompt that no other test uses; the mock's answer begins with it.
export const nonce = () => `nonce:js${++count}x`;

export async function until(what, ok, ms = 10000) {
  for (const end = Date.now() + ms; ; await sleep(10)) {
    const value = await ok();
    if (value) return value;
    assert.ok(Date.now() < end, `not in time: ${what}`);
  }
}

// `leave` is done while the upstream works on its only call; then that call is seen to be closed.
export async function closes(upstream, leave) {
  await until("the upstream call", async () => (await upstream.stats()).open === 1);
  const { aborted } = await upstream.stats();
  await leave();
  await until("its end", async () => (await upstream.stats()).aborted === aborted + 1);
}

// Everything that a FalStream gave.
export async function collect(stream) {
  const events = [];
  stream.on("data", (e) => events.push(e));
  return { last: await stream.done(), events };
}
