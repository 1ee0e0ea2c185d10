// A realtime application as fal's documentation writes them, with the client CLIENT: nothing in it says where fal is. With a
// proxy package, tokens come through its program, or from a route of the application's own where it lets none through.
import assert from "node:assert/strict";
import { clients, make, startProxy } from "./fal_clients.mjs";
import { talk } from "./realtime_talk.mjs";

const kind = clients[process.argv[2]];
const proxy = kind.proxy && (await startProxy(kind.proxy));
const fal = make(kind, proxy?.base, { way: proxy ? "proxy" : "names" });

// What fal's pages have a server do for its browsers.
async function tokenProvider(app) {
  const response = await fetch("https://rest.fal.ai/tokens/realtime", {
    method: "POST",
    headers: { Authorization: `Key ${process.env.FAL_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ allowed_apps: [app], duration: 120 }),
  });
  assert.equal(response.status, 200);
  return (await response.json()).token;
}

await talk(fal, kind, kind.proxy?.[0] === "@fal-ai/server-proxy" ? { tokenProvider } : {});
console.log("done");
await proxy?.stop();
process.exit();
