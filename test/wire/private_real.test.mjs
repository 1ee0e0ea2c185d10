// One command on a laptop: no server runs, `anyllm run` answers with the real model; and nothing is left when nobody comes any more.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createConnection } from "node:net";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { alive, anyllm, children, haveEngine, sleep } from "./server.mjs";

const QUESTION = "What is the capital of France? Answer in one sentence.";

const taken = () =>
  new Promise((resolve) => {
    const s = createConnection(8787, "127.0.0.1", () => (s.destroy(), resolve(true)));
    s.on("error", () => resolve(false));
  });
const skip = !haveEngine()
  ? "no llama-server or no model in the cache; `make demo` fetches both"
  : (await taken())
    ? "something listens on 127.0.0.1:8787"
    : false;

describe("the private server, with a real model", { skip }, () => {
  let folder, env;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "anyllm-private-"));
    mkdirSync(join(folder, "run"), { mode: 0o700 });
    env = {
      PATH: process.env.PATH,
      HOME: folder,
      XDG_RUNTIME_DIR: join(folder, "run"),
      XDG_STATE_HOME: join(folder, "state"),
      XDG_CONFIG_HOME: join(folder, "config"),
      XDG_CACHE_HOME: process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"),
    };
    if (process.env.ANYLLM_ENGINE) env.ANYLLM_ENGINE = process.env.ANYLLM_ENGINE;
  });
  after(() => {
    const pid = server();
    if (pid) process.kill(pid, "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (args, more = {}) =>
    new Promise((resolve) =>
      execFile(anyllm, ["run", "--temperature", "0", ...args], { env: { ...env, ...more } }, (error, stdout, stderr) =>
        resolve({ code: error ? error.code : 0, stdout, stderr }),
      ).stdin.end(),
    );
  const server = () =>
    readdirSync("/proc")
      .filter((p) => /^\d+$/.test(p))
      .map(Number)
      .find((p) => {
        try {
          return readFileSync(`/proc/${p}/cmdline`, "utf8").includes(`unix:${env.XDG_RUNTIME_DIR}/`);
        } catch {
          return false;
        }
      });
  const gone = async (pid, ms = 20000) => {
    for (const end = Date.now() + ms; Date.now() < end && alive(pid); ) await sleep(20);
    return !alive(pid);
  };

  it("answers at once, and again", async () => {
    const first = await run([QUESTION]);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /Paris/);
    assert.match(first.stderr, /^anyllm run: started a private server.*5 minutes.*\n$/);
    const pid = server();
    const second = await run([QUESTION]);
    assert.match(second.stdout, /Paris/);
    assert.equal(second.stderr, "");
    assert.equal(server(), pid);
  });

  it("leaves no engine behind after kill -9, and the next command starts anew", async () => {
    const pid = server();
    const [engine] = children(pid);
    assert.ok(engine);
    process.kill(pid, "SIGKILL");
    assert.ok(await gone(engine));
    const next = await run([QUESTION], { ANYLLM_PRIVATE_IDLE: "1" });
    assert.match(next.stdout, /Paris/);
    assert.match(next.stderr, /started a private server/);
  });

  it("ends with its engine when nobody comes", async () => {
    for (const end = Date.now() + 20000; Date.now() < end && server(); ) await sleep(50);
    assert.equal(server(), undefined);
    const log = readFileSync(join(env.XDG_STATE_HOME, "anyllm/private.log"), "utf8");
    assert.match(log, /reason=idle/);
    assert.match(log, /event=stopped exit=0/);
  });
});
