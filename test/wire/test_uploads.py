"""Files and webhooks of fal's Python client, sync and async, its files untouched."""

import base64
import hashlib
import http.server
import json
import os
import threading
import urllib.error
import urllib.request

import fal_client as package
import fal_client.client as fal_client
import pytest
import wire
from fal_python import APP, Fal

feature = pytest.mark.feature
MB = 1 << 20
BYTES = os.urandom(120 * MB)


@pytest.fixture(scope="module")
def files_server(mock):
    extra = "keys: [{ id: kid, secret: ksecret, owner: team }]\nwebhook_allow: [127.0.0.0/8]\nmin_free_bytes: 0"
    server = wire.Server(mock.config(ok="/ok", extra=extra))
    yield server
    server.stop()


@pytest.fixture
def fal(files_server, kind, monkeypatch):
    base = files_server.base
    monkeypatch.setattr(fal_client, "RUN_URL_FORMAT", f"{base}/run/")
    monkeypatch.setattr(fal_client, "QUEUE_URL_FORMAT", f"{base}/queue/")
    monkeypatch.setattr(fal_client, "REST_URL", f"{base}/rest")
    monkeypatch.setattr(fal_client, "CDN_URL", f"{base}/cdn")
    return Fal(kind)


def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def same(url, sent):
    status, data = get(url)
    assert status == 200
    assert hashlib.sha256(data).digest() == hashlib.sha256(sent).digest()


@feature("upload.small")
@pytest.mark.parametrize("size", [0, 1, 10 * MB])
def test_small_files_come_back(fal, size):
    sent = BYTES[:size]
    same(fal.upload(sent, "application/octet-stream", "some file.bin"), sent)


def test_text_and_files_without_names(fal):
    same(fal.upload("words", "text/plain"), b"words")


@feature("upload.95")
def test_large_upload_in_one(fal):
    same(fal.upload(BYTES[: 95 * MB], "application/octet-stream"), BYTES[: 95 * MB])


@feature("upload.120")
def test_larger_upload_in_parts(fal, tmp_path):
    file = tmp_path / "large.bin"
    file.write_bytes(BYTES)
    same(fal.upload_file(file), BYTES)


@feature("upload.lifecycle")
def test_files_expire_and_hide(fal):
    storage = package.StorageSettings if hasattr(package, "StorageSettings") else fal_client.StorageSettings
    acl = fal_client.StorageACL
    url = fal.upload(b"soon gone", "text/plain", lifecycle=storage(expires_in=2))
    assert get(url)[0] == 200
    wire.wait_until(lambda: get(url)[0] == 404)
    url = fal.upload(b"mine", "text/plain", lifecycle=storage(initial_acl=acl(default="hide")))
    assert get(url)[0] == 404
    assert get(url, Authorization=f"Key {wire.KEY}") == (200, b"mine")


@feature("upload.fallback")
def test_its_second_repository(fal):
    same(fal.upload(b"words", "text/plain", "a.txt", repository="fal"), b"words")


# --- webhooks


@pytest.fixture(scope="module")
def receiver():
    got = {}

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got[self.headers["x-fal-webhook-request-id"]] = (dict(self.headers.items()), body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.got = got
    yield server
    server.shutdown()


def well_signed(server, headers, body):
    """As fal's documentation writes it."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    headers = {name.lower(): value for name, value in headers.items()}
    names = ["x-fal-webhook-request-id", "x-fal-webhook-user-id", "x-fal-webhook-timestamp"]
    lines = [headers[name] for name in names] + [hashlib.sha256(body).hexdigest()]
    signature = bytes.fromhex(headers["x-fal-webhook-signature"])
    keys = json.loads(get(f"{server.base}/rest/.well-known/jwks.json")[1])["keys"]
    for key in keys:
        try:
            VerifyKey(base64.urlsafe_b64decode(key["x"])).verify("\n".join(lines).encode(), signature)
            return True
        except BadSignatureError:
            continue
    return False


@feature("webhook")
def test_webhook_of_a_submit(fal, files_server, receiver):
    url = f"http://127.0.0.1:{receiver.server_address[1]}/hook?a=b"
    handle = fal.submit(APP, {"prompt": "nonce:hook"}, webhook_url=url)
    wire.wait_until(lambda: handle.request_id in receiver.got)
    headers, body = receiver.got[handle.request_id]
    told = json.loads(body)
    assert told["status"] == "OK" and told["error"] is None and told["request_id"] == handle.request_id
    assert "nonce:hook" in told["payload"]["output"]
    assert well_signed(files_server, headers, body)
    assert not well_signed(files_server, headers, body + b" ")
