"""Deliveries as a receiver in Python sees them: verified with PyNaCl by the code of docs/webhooks.md, and by standardwebhooks."""

import http.server
import json
import sys
import threading
import urllib.parse
import urllib.request

import pytest
import wire
from standardwebhooks import Webhook, WebhookVerificationError

sys.path.insert(0, str(wire.ROOT / "examples/webhooks"))
from verify import verify  # noqa: E402


class Receiver(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.deliveries = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait(self, request_id):
        wire.wait_until(lambda: request_id in self.deliveries, 20)
        return self.deliveries[request_id]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.deliveries[headers["webhook-id"]] = headers, body
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.shutdown()


@pytest.fixture(scope="module")
def server(mock):
    extra = "keys: [{ id: kid, secret: ksecret, owner: team }]\nwebhook_allow: [127.0.0.0/8]"
    server = wire.Server(mock.config(ok="/ok", extra=extra)).ready()
    yield server
    server.stop()


@pytest.fixture
def delivery(server, receiver):
    hook = urllib.parse.quote(f"http://127.0.0.1:{receiver.server_port}/hook", safe="")
    status, answer = server.call("POST", f"/queue/fal-ai/any-llm?fal_webhook={hook}", {"prompt": "é", "model": "test/ok"})[:2]
    assert status == 200
    return receiver.wait(answer["request_id"])


@pytest.fixture
def jwks(server):
    return json.load(urllib.request.urlopen(f"{server.base}/.well-known/jwks.json"))


def flips(data, step):
    for bit in range(0, len(data) * 8, step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def test_webhook_is_verified_with_pynacl(delivery, jwks):
    headers, body = delivery
    assert verify(headers, body, jwks)
    assert not any(verify(headers, flipped, jwks) for flipped in flips(body, 5))
    for name in ("request-id", "user-id", "timestamp", "signature"):
        assert not verify({k: v for k, v in headers.items() if k != f"x-fal-webhook-{name}"}, body, jwks)
    assert not verify(headers | {"x-fal-webhook-timestamp": "1"}, body, jwks)
    assert list(json.loads(body)) == ["error", "gateway_request_id", "payload", "request_id", "status"]


def test_webhook_is_verified_by_standardwebhooks(server, delivery):
    headers, body = delivery
    secret = server.call("GET", "/rest/webhooks/secret")[1]["secret"]
    assert Webhook(secret).verify(body, headers)["status"] == "OK"
    for flipped in flips(body, 11):
        with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
            Webhook(secret).verify(flipped, headers)
