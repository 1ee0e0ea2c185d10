"""Verifies a webhook with PyNaCl: is it from this server, is it new, is it whole?"""

import base64
import hashlib
import time

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

TOLERANCE_S = 300


def verify(headers, body, jwks):
    """`headers` by lower-case name, `body` the bytes as they came, `jwks` what /.well-known/jwks.json answers (keep it for a
    day at most)."""
    try:
        lines = [headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
        signature = bytes.fromhex(headers["x-fal-webhook-signature"])
        age = abs(time.time() - int(lines[2]))
    except (KeyError, ValueError):
        return False
    if age > TOLERANCE_S:
        return False
    message = "\n".join([*lines, hashlib.sha256(body).hexdigest()]).encode()
    return any(verified_by(key, message, signature) for key in jwks["keys"])


def verified_by(key, message, signature):
    try:
        VerifyKey(base64.urlsafe_b64decode(key["x"] + "==")).verify(message, signature)
        return True
    except (BadSignatureError, KeyError, ValueError):
        return False
