// One conversation over fal.realtime.connect, the same with every client.
import assert from "node:assert/strict";
import { nonce, until } from "./common.mjs";

const ID = "fal-ai/any-llm";

export async function talk(fal, kind, options = {}) {
  const results = [];
  const errors = [];
  const connection = fal.realtime.connect(ID, {
    connectionKey: nonce(),
    throttleInterval: 0,
    onResult: (r) => results.push(r),
    onError: (e) => errors.push(e),
    ...options,
  });
  const ask = async (input) => {
    connection.send(input);
    await until("an answer", () => errors.length > 0 || results.some((r) => r.partial === false && r.output.startsWith(input.prompt)));
  };
  for (let i = 0; i < 3; i++) await ask({ prompt: nonce() });
  assert.deepEqual(errors, []);
  // cumulative, each beginning with the one before of the same answer
  for (let i = 1; i < results.length; i++)
    if (results[i - 1].partial) assert.ok(results[i].output.startsWith(results[i - 1].output));
  assert.equal(results.filter((r) => !r.partial).length, 3);
  // the old client numbers its messages
  if (kind.bare) assert.ok(results.every((r) => /^[0-9a-f-]{36}$/.test(r.request_id)));
  connection.send({ prompt: 5 });
  await until("the fault", () => errors.length > 0);
  assert.equal(errors[0].status, 400);
  assert.match(errors[0].message, /^VALIDATION_ERROR: body\.prompt: /);
  assert.equal(errors[0].body.detail[0].loc[1], "prompt");
  errors.length = 0;
  await ask({ prompt: nonce() });
  assert.deepEqual(errors, []);
  connection.close();
}
