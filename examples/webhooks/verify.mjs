// Verifies a webhook with Node alone: is it from this server, is it new, is it whole?
import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";

const TOLERANCE_S = 300;

// `headers` by lower-case name, `body` the bytes as they came, `jwks` what /.well-known/jwks.json answers (keep it for a day
// at most).
export function verify(headers, body, jwks) {
  const [id, user, timestamp, signature] = ["request-id", "user-id", "timestamp", "signature"].map(
    (name) => headers[`x-fal-webhook-${name}`],
  );
  if (!id || !user || !/^\d+$/.test(timestamp ?? "") || !/^[0-9a-f]{128}$/i.test(signature ?? "")) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const hash = createHash("sha256").update(body).digest("hex");
  const message = Buffer.from([id, user, timestamp, hash].join("\n"));
  // Keys of other sorts may stand beside them.
  const keys = jwks.keys.filter(({ kty, crv }) => kty === "OKP" && crv === "Ed25519");
  return keys.some(({ kty, crv, x }) =>
    verifySignature(null, message, createPublicKey({ key: { kty, crv, x }, format: "jwk" }), Buffer.from(signature, "hex")),
  );
}
