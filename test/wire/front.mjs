// A reverse proxy before the server that remembers what arrived and with which status and headers it was answered.
import { createServer, request } from "node:http";

// `lose(seen)`: true cuts the caller's connection when the server's answer is there, as a power cut would.
export async function startFront(base, { lose = () => false } = {}) {
  const seen = [];
  const target = new URL(base);
  const server = createServer((req, res) => {
    const entry = { method: req.method, path: req.url, headers: req.headers };
    seen.push(entry);
    const onward = request(
      { host: target.hostname, port: target.port, method: req.method, path: req.url, headers: req.headers, agent: false },
      (answer) => {
        entry.status = answer.statusCode;
        entry.answered = answer.headers;
        if (lose(entry)) {
          answer.resume().on("end", () => res.socket.resetAndDestroy());
          return;
        }
        res.writeHead(answer.statusCode, answer.statusMessage, answer.headers);
        res.flushHeaders();
        answer.on("error", () => res.destroy()).pipe(res);
      },
    );
    onward.on("error", () => res.destroy());
    res.on("close", () => onward.destroy());
    req.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    seen,
    count: (method, pattern) => seen.filter((s) => s.method === method && pattern.test(s.path)).length,
    stop: () => (server.closeAllConnections(), server.close()),
  };
}

// An upstream's door: calls whose text holds a prompt given to `hold` wait there until they are let through.
export async function startGate(upstream) {
  const held = new Map();
  const arrived = [];
  const server = createServer(async (req, res) => {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const [prompt] = /nonce:\w+/.exec(body.toString()) ?? [];
    arrived.push({ prompt, body: body.toString() });
    const h = held.get(prompt);
    if (h) (h.here(), await h.open);
    const options = { method: req.method, headers: req.headers, agent: false };
    const onward = request(upstream + req.url, options, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    onward.on("error", () => res.destroy()).end(body);
    res.on("close", () => onward.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    arrived,
    hold(prompt) {
      const h = {};
      h.arrived = new Promise((resolve) => (h.here = resolve));
      h.open = new Promise((resolve) => (h.release = resolve));
      held.set(prompt, h);
      return h;
    },
    stop: () => (server.closeAllConnections(), server.close()),
  };
}
