// Every example of README.md, taken from the page and run against a real server: what is not run is named here, and why.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { anyllm, mockConfig, startMock, startServer } from "./server.mjs";

const root = new URL("../..", import.meta.url).pathname;
const build = dirname(anyllm);
const page = readFileSync(join(root, "README.md"), "utf8");
const venv = join(root, ".deps/venv/bin/python");

const elsewhere = [
  [/^git clone /, "this is the clone"],
  [/^make (demo|test|install)\b/, "what calls this test; the installed library has a test of its own"],
  [/^build\/anyllm serve\b/, "runs already"],
];
const fences = (language) => [...page.matchAll(new RegExp("^```" + language + "\\n(.*?)^```$", "gms"))].map((m) => m[1]);
const blocks = page
  .replace(/^```.*?^```$/gms, "")
  .split(/\n\n/)
  .filter((p) => p.split("\n").every((line) => line.startsWith("    ")))
  .map((p) => p.split("\n").map((line) => line.slice(4)));

let mock, server, folder, env;

// Output and exit code; nothing to read on standard input.
function run(program, args) {
  return new Promise((resolve, reject) => {
    let text = "", out = "";
    const child = spawn(program, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", (d) => ((out += d), (text += d)));
    child.stderr.on("data", (d) => (text += d));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, text, out }));
  });
}

async function succeeds(program, args) {
  const ended = await run(program, args);
  assert.equal(ended.code, 0, `${program} ${args.join(" ")}:\n${ended.text}`);
  return ended.out;
}

const here = (text) => text.replaceAll("http://127.0.0.1:8787", server.base);

before(async () => {
  mock = await startMock();
  folder = mkdtempSync(join(tmpdir(), "anyllm-readme-"));
  server = await startServer(mockConfig(mock, { ok: "/ok" }), { data: join(folder, "anyllm") });
  await server.ready();
  symlinkSync(join(root, "test/wire/node_modules"), join(folder, "node_modules"));
  symlinkSync(build, join(folder, "build"));
  symlinkSync(join(root, "README.md"), join(folder, "README.md"));
  env = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, ANYLLM_BASE: server.base, LD_LIBRARY_PATH: build };
});
after(async () => {
  await server?.stop();
  await mock?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

describe("README.md", { timeout: 120000 }, () => {
  it("fal's four examples in JavaScript", async () => {
    // Each block in a scope of its own, but for what the next ones use.
    const shared = (code, i) => i === 0 || code.includes("{ request_id } =");
    const scoped = fences("js").map((code, i) => (shared(code, i) ? code : `{\n${code}}\n`));
    // A reader gets to the result some time later.
    const wait = 'while ((await fal.queue.status("fal-ai/any-llm", { requestId: request_id })).status !== "COMPLETED");\n';
    const script = [...scoped.slice(0, -1), wait, ...scoped.slice(-1)].join("");
    writeFileSync(join(folder, "readme.mjs"), here(script));
    const said = await succeeds(process.execPath, ["readme.mjs"]);
    assert.match(said, /output/);
  });

  it("the example in Python", { skip: existsSync(venv) ? false : "the Python client is not there" }, async () => {
    writeFileSync(join(folder, "readme.py"), here(fences("python").join("\n")));
    assert.match(await succeeds(venv, ["readme.py"]), /output/);
  });

  it("the example in C", async () => {
    writeFileSync(join(folder, "example.c"), fences("c")[0]);
    await succeeds("cc", ["-Wall", "-Wextra", "-Wno-unused-parameter", "example.c", `-I${root}include`, `-L${build}`, "-lfal", "-o", "example"]);
    const lines = blocks.flat().filter((line) => line.endsWith("./example"));
    assert.equal(lines.length, 1);
    assert.match(await succeeds("sh", ["-c", here(lines[0])]), /"output"/);
  });

  it("each block of commands", async () => {
    let count = 0;
    // Keys last: from then on the server wants one.
    for (const block of blocks.filter((b) => !b.some((line) => /example/.test(line)))) {
      const mine = block.filter((line) => !elsewhere.some(([pattern]) => pattern.test(line)));
      if (mine.length === 0) continue;
      await succeeds("sh", ["-euc", mine.join("\n").replace("git diff |", "echo diff |")]);
      count += mine.length;
    }
    assert.ok(count >= 10, `${count} commands`);
  });
});
