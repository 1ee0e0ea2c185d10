// fal's own names lead here: a hosts file that only a program started below sees, TLS on port 443, a CA that it trusts.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KEY } from "./fal_clients.mjs";

const NAMES = [
  "fal.run", "queue.fal.run", "ws.fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "v3.fal.media", "api.fal.ai",
];
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

export const skip = allowed() ? false : "a hosts file of its own and port 443 need root and mount namespaces";

// The server's arguments.
export function atFalsNames() {
  const make = (...args) =>
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", ...args], {
      stdio: "ignore",
    });
  make("-subj", "/CN=test CA", "-keyout", at("ca.key"), "-out", at("ca.pem"));
  const names = NAMES.map((n) => `DNS:${n}`).join(",");
  const extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", `subjectAltName=${names}`];
  make("-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-subj", "/CN=here", ...extensions, "-keyout", at("key.pem"), "-out", at("cert.pem"));
  return ["--listen-tls", `${address}:443`, "--tls-cert", at("cert.pem"), "--tls-key", at("key.pem")];
}

// { code, text } of the application (a file beside this one) with this client.
export async function application(file, id, { trusts = true } = {}) {
  const app = fileURLToPath(new URL(file, import.meta.url));
  const child = spawn("unshare", [...MOUNT, process.execPath, app, id], {
    env: { PATH: process.env.PATH, FAL_KEY: KEY, ...(trusts && { NODE_EXTRA_CA_CERTS: at("ca.pem") }) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const s of [child.stdout, child.stderr]) s.on("data", (d) => (text += d));
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, text };
}

export const forget = () => rmSync(folder, { recursive: true, force: true });
