// fal's own names lead here: a hosts file, TLS on port 443 and a CA that the application trusts; it is not changed at all.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cell } from "./cells.mjs";
import { KEY, clients } from "./fal_clients.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

const NAMES = ["fal.run", "queue.fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "v3.fal.media", "api.fal.ai"];
const folder = mkdtempSync(join(tmpdir(), "anyllm-names-"));
const at = (name) => join(folder, name);

// A loopback address of our own, so that nobody else's port 443 is in the way.
const byte = (from) => from + Math.floor(Math.random() * (254 - from));
const address = `127.${byte(64)}.${byte(0)}.${byte(1)}`;

// A program that sees a hosts file of its own.
const MOUNT = ["-m", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', at("hosts")];

function allowed() {
  writeFileSync(at("hosts"), `127.0.0.1 localhost\n${address} ${NAMES.join(" ")}\n`);
  try {
    execFileSync("unshare", [...MOUNT, "true"], { stdio: "ignore" });
    return process.getuid() === 0;
  } catch {
    return false;
  }
}

function makeCertificates() {
  const make = (...args) =>
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", ...args], {
      stdio: "ignore",
    });
  make("-subj", "/CN=test CA", "-keyout", at("ca.key"), "-out", at("ca.pem"));
  const names = NAMES.map((n) => `DNS:${n}`).join(",");
  const extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", `subjectAltName=${names}`];
  make("-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-subj", "/CN=here", ...extensions, "-keyout", at("key.pem"), "-out", at("cert.pem"));
}

// { code, text } of the application with this client.
async function application(id, { trusts = true } = {}) {
  const app = fileURLToPath(new URL("names_app.mjs", import.meta.url));
  const child = spawn("unshare", [...MOUNT, process.execPath, app, id], {
    env: { PATH: process.env.PATH, FAL_KEY: KEY, ...(trusts && { NODE_EXTRA_CA_CERTS: at("ca.pem") }) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const s of [child.stdout, child.stderr]) s.on("data", (d) => (text += d));
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, text };
}

const skip = allowed() ? false : "a hosts file of its own and port 443 need root and mount namespaces";

describe("fal's own names", { skip, concurrency: 6 }, () => {
  let mock, server;
  before(async () => {
    makeCertificates();
    mock = await startMock();
    const [id, secret] = KEY.split(":");
    const config = mockConfig(mock, { ok: "/ok" }, `keys: [{ id: ${id}, secret: ${secret} }]\n`);
    const args = ["--listen-tls", `${address}:443`, "--tls-cert", at("cert.pem"), "--tls-key", at("key.pem")];
    server = await startServer(config, { args });
    await server.ready();
  });
  after(async () => {
    await server?.stop();
    await mock?.stop();
  });

  for (const id of Object.keys(clients))
    it(`way.names: ${id}`, { timeout: 60000 }, async () => {
      const { code, text } = await application(id);
      assert.equal(code, 0, text);
      assert.match(text, /^done$/m);
      cell(id, "way.names");
    });

  it("an application that does not trust the CA sends nothing", { timeout: 60000 }, async () => {
    const { code, text } = await application("client-1.0", { trusts: false });
    assert.notEqual(code, 0);
    assert.match(text, /unable to verify|self.signed|UNABLE_TO/i);
  });
});

after(() => rmSync(folder, { recursive: true, force: true }));
