// An application as fal's documentation writes them, with the client CLIENT: nothing in it says where fal is.
// With a proxy package, its program runs here as well.
import assert from "node:assert/strict";
import { collect, nonce } from "./common.mjs";
import { clients, make, startProxy } from "./fal_clients.mjs";

const ID = "fal-ai/any-llm";
const kind = clients[process.argv[2]];
const proxy = kind.proxy && (await startProxy(kind.proxy));
const fal = make(kind, proxy?.base, { way: proxy ? "proxy" : "names" });

const ask = () => ({ input: { prompt: nonce() }, logs: true });
const answers = (data, { input }) => assert.ok(data.output.startsWith(input.prompt), JSON.stringify(data));

let asked = ask();
answers((await fal.run(ID, asked)).data, asked);
for (const mode of ["polling", "streaming"]) {
  asked = ask();
  let last;
  const r = await fal.subscribe(ID, { ...asked, mode, onQueueUpdate: (u) => (last = u) });
  answers(r.data, asked);
  assert.equal(last.status, "COMPLETED");
  assert.ok(last.logs.length > 0);
}
asked = ask();
answers((await collect(await fal.stream(ID, asked))).last, asked);
asked = ask();
const s = await fal.queue.submit(ID, asked);
const requestId = s.request_id;
assert.ok(s.status_url.startsWith(`https://queue.fal.run/${ID}/requests/`), s.status_url);
await fal.queue.subscribeToStatus(ID, { requestId, pollInterval: 20 });
answers((await fal.queue.result(ID, { requestId })).data, asked);
const late = fal.queue.cancel(ID, { requestId });
if (kind.losesStatus) await late;
else await assert.rejects(late, { status: 400 });
console.log("done");
await proxy?.stop();
