// fal's JavaScript clients, each behind the same few names, pointed at us in each way it has.
import { createRequire } from "node:module";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const KEY = "kid:ksecret";

const require = createRequire(import.meta.url);

// Fal's addresses as this server's prefixes.
export const rewrite = (url, base) =>
  String(url)
    .replace(/^https:\/\/queue\.fal\.run/, `${base}/queue`)
    .replace(/^https:\/\/rest(\.alpha)?\.fal\.ai/, `${base}/rest`)
    .replace(/^https:\/\/fal\.run/, `${base}/run`);

// What a client's configuration gets, for each way.
const ways = {
  fetch: ({ base, fetch = globalThis.fetch }) => ({ fetch: (url, init) => fetch(rewrite(url, base), init) }),
  middleware: ({ base, fetch }) => ({ requestMiddleware: async (r) => ({ ...r, url: rewrite(r.url, base) }), fetch }),
  proxy: ({ base, fetch }) => ({ proxyUrl: { url: `${base}/api/fal/proxy`, when: "always" }, fetch }),
  names: () => ({}),
};

function withHeaders(config, headers) {
  if (!headers) return config;
  const before = config.requestMiddleware ?? ((r) => r);
  return { ...config, requestMiddleware: async (r) => ({ ...(await before(r)), headers: { ...r.headers, ...headers } }) };
}

// Older clients take a string, and use it in a page only.
function inPage(config, make) {
  if (!config.proxyUrl) return make(config);
  globalThis.window = {};
  try {
    return make({ ...config, proxyUrl: config.proxyUrl.url });
  } finally {
    delete globalThis.window;
  }
}

const newest = (config) => require("@fal-ai/client").createFalClient(config);
const first = (config) => inPage(config, require("@fal-ai/client-1.0").createFalClient);

// The older package keeps one configuration for all: a copy of it for each application.
function serverless(config) {
  for (const path of Object.keys(require.cache))
    if (path.includes("/node_modules/@fal-ai/serverless-client/")) delete require.cache[path];
  const fal = require("@fal-ai/serverless-client");
  inPage(config, fal.config);
  const bare = (promise) => promise.then((data) => ({ data }));
  return {
    run: (id, options) => bare(fal.run(id, options)),
    subscribe: (id, options) => bare(fal.subscribe(id, options)),
    stream: fal.stream,
    storage: fal.storage,
    realtime: fal.realtime,
    queue: { ...fal.queue, result: (id, options) => bare(fal.queue.result(id, options)) },
  };
}

// `newest`: has today's options and repeats by itself. `bare`: gives results without their request id. `way`: how the
// suite points it at us. `proxy`: the program it goes through. `losesStatus`: which answers everything with 200.
const PROXY = { way: "proxy", ways: [] };
const PROXIED = { ...PROXY, load: newest, newest: true };

export const clients = {
  client: { load: newest, newest: true, way: "fetch", ways: ["fetch", "middleware", "proxy"] },
  "client-1.0": { load: first, way: "fetch", ways: ["fetch", "middleware", "proxy"] },
  "serverless-client": { load: serverless, bare: true, way: "fetch", ways: ["fetch", "middleware", "proxy"] },
  "server-proxy": { ...PROXIED, proxy: ["@fal-ai/server-proxy", "svelte"] },
  "server-proxy-express": { ...PROXIED, proxy: ["@fal-ai/server-proxy", "express"], losesStatus: true },
  "serverless-proxy": {
    ...PROXY, load: serverless, bare: true, proxy: ["@fal-ai/serverless-proxy", "express"], losesStatus: true,
  },
};

// An application's client. Options: key, way, headers (added by its middleware), fetch.
export function make(client, base, { key = KEY, way = client.way, headers, fetch } = {}) {
  const config = { credentials: key, ...ways[way]({ base, fetch }) };
  if (config.fetch === undefined) delete config.fetch;
  return client.load(withHeaders(config, headers));
}

// The user's own proxy, a program of its own. What it sends to fal's names goes to `base`; without one, to fal's names.
export async function startProxy([name, adapter], base, environment = {}) {
  const program = fileURLToPath(new URL("proxy_app.mjs", import.meta.url));
  const { PATH, NODE_EXTRA_CA_CERTS } = process.env;
  const child = spawn(process.execPath, [program, name, adapter, ...(base ? [base] : [])], {
    env: { PATH, ...(NODE_EXTRA_CA_CERTS && { NODE_EXTRA_CA_CERTS }), FAL_KEY: KEY, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  const port = await new Promise((resolve, reject) => {
    child.on("exit", () => reject(new Error(`the proxy ended:\n${text}`)));
    for (const s of [child.stdout, child.stderr])
      s.on("data", (d) => {
        text += d;
        const m = /listening on (\d+)/.exec(text);
        if (m) resolve(m[1]);
      });
  });
  return {
    base: `http://127.0.0.1:${port}`,
    stop: () => new Promise((resolve) => (child.removeAllListeners("exit"), child.on("exit", resolve), child.kill())),
  };
}
