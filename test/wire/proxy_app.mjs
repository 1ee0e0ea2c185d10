// The program of somebody who uses fal's proxy package: NAME ADAPTER [BASE]. Fal's names lead to BASE here. With
// ALLOWED_URLS (comma separated) it lets more through than the package does by itself.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import express from "express";
import { rewrite } from "./fal_clients.mjs";

const [, , name, adapter, base] = process.argv;
const load = createRequire(import.meta.url);
const direct = globalThis.fetch;
if (base) globalThis.fetch = (url, init) => direct(rewrite(url, base), init);

const { ALLOWED_URLS } = process.env;
const config = { allowedEndpoints: ["**"], ...(ALLOWED_URLS && { allowedUrlPatterns: ALLOWED_URLS.split(",") }) };

const listen = (app) => {
  const server = createServer(app).listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
};

const programs = {
  express() {
    const proxy = load(`${name}/express`);
    const app = express();
    app.use(express.json());
    app.all(proxy.route, proxy.createHandler ? proxy.createHandler(config) : proxy.handler);
    return app;
  },
  // SvelteKit's handlers take a Request and give a Response; this is the bridge that a framework has.
  svelte() {
    const handlers = load(`${name}/svelte`).createRequestHandler(config);
    return async (req, res) => {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      const body = req.method === "GET" ? undefined : Buffer.concat(chunks);
      const request = new Request(`http://app${req.url}`, { method: req.method, headers: req.headers, body });
      const answer = await handlers[req.method]({ request });
      res.writeHead(answer.status, Object.fromEntries(answer.headers));
      if (answer.body) Readable.fromWeb(answer.body).on("error", () => res.destroy()).pipe(res);
      else res.end();
    };
  },
};

listen(programs[adapter]());
