// Starts the real server and the mock upstream for a test, each in a folder of its own, and ends them.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync, existsSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const build = process.env.TEST_BUILD ?? new URL("../../build", import.meta.url).pathname;
export const anyllm = join(build, "anyllm");
const mockllm = join(build, "test/mock/mockllm");

export const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "anyllm");
export const model = join(cache, "SmolLM2-135M-Instruct.Q4_1.gguf");

// A process whose stderr and stdout are kept as text; `line(re)` waits for a line.
class Child {
  constructor(program, args, options = {}) {
    this.text = "";
    this.process = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    for (const s of [this.process.stdout, this.process.stderr]) s.on("data", (d) => (this.text += d));
    this.exited = new Promise((resolve) => this.process.on("exit", (code, signal) => resolve({ code, signal })));
    this.exited.then((e) => (this.ended = e));
  }
  get pid() {
    return this.process.pid;
  }
  async line(pattern, ms = 30000) {
    for (const end = Date.now() + ms; Date.now() < end; await sleep(10)) {
      const m = pattern.exec(this.text);
      if (m) return m;
      if (this.ended) throw new Error(`ended (${JSON.stringify(this.ended)}) before ${pattern}:\n${this.text}`);
    }
    throw new Error(`no ${pattern} in time:\n${this.text}`);
  }
  async stop(signal = "SIGTERM") {
    if (!this.ended) this.process.kill(signal);
    return this.exited;
  }
}

export async function startMock() {
  const child = new Child(mockllm, ["--port", "0", "--die-with-parent"]);
  const [, port] = await child.line(/listening on (\d+)/);
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    stop: () => child.stop(),
    stats: async () => (await fetch(`${url}/_stats`)).json(),
    reset: () => fetch(`${url}/_reset`, { method: "POST" }),
  };
}

// `config` is YAML text. Options: data (a folder to keep), env, args, cpu.
export async function startServer(config, { data, env = {}, args = [], listen = "127.0.0.1:0" } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "anyllm-test-"));
  const file = join(folder, "anyllm.yaml");
  writeFileSync(file, config, { mode: 0o600 });
  const home = { XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache") };
  const child = new Child(
    anyllm,
    ["serve", "--config", file, "--listen", listen, "--data", data ?? join(folder, "data"), ...args],
    { env: { PATH: process.env.PATH, HOME: folder, ...home, ...env } },
  );
  const [, base] = await child.line(/listening on (http:\S+)/);
  const server = {
    base,
    child,
    pid: child.pid,
    data: data ?? join(folder, "data"),
    log: () => child.text,
    get: (path, init) => fetch(base + path, init),
    ready: async (ms = 60000) => {
      for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) {
        const r = await fetch(`${base}/readyz`).catch(() => null);
        if (r?.status === 200) return;
      }
      throw new Error(`not ready in time:\n${child.text}`);
    },
    kill: () => child.stop("SIGKILL"),
    stop: async () => {
      const e = await child.stop("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
      if (/Sanitizer|runtime error:/.test(child.text)) throw new Error(child.text);
      return e;
    },
  };
  return server;
}

// One upstream of the mock's under each name: { ok: "/ok", one: ["/delay/1500", "concurrency: 1"] }; the model test/NAME
// goes to it. A path may also be a whole URL.
export function mockConfig(mock, upstreams, extra = "") {
  const lines = Object.entries(upstreams).map(([name, what]) => {
    const [path, ...more] = [what].flat();
    const members = ["kind: openai", `base_url: "${path.startsWith("http") ? "" : mock.url}${path}/v1"`, `key: upstream-key-${name}`, ...more];
    return `  ${name}: { ${members.join(", ")} }`;
  });
  const routes = Object.keys(upstreams).map((name) => `  - { model: "test/${name}", to: [${name}] }`);
  const [first] = Object.keys(upstreams);
  return `upstreams:\n${lines.join("\n")}\nroutes:\n${routes.join("\n")}\n  - { model: "*", to: [${first}] }\n${extra}`;
}

// The one line an application changes: fal's addresses become this server's.
export const through = (base) => ({
  credentials: "kid:ksecret",
  fetch: (url, init) =>
    fetch(
      String(url)
        .replace(/^https:\/\/queue\.fal\.run/, `${base}/queue`)
        .replace(/^https:\/\/rest(\.alpha)?\.fal\.ai/, `${base}/rest`)
        .replace(/^https:\/\/fal\.run/, `${base}/run`),
      init,
    ),
});

export const haveEngine = () =>
  existsSync(model) &&
  (process.env.ANYLLM_ENGINE !== undefined ||
    existsSync(join(cache, "engine/llama-server")) ||
    existsSync(join(cache, "engine-src/llama-server")) ||
    process.env.PATH.split(":").some((d) => existsSync(join(d, "llama-server"))));

// Pids of processes whose parent is `pid` or whose command line names `text`.
export const children = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
};

export const alive = (pid) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

export { sleep };
