"""Realtime connections and HTTP over WebSocket: fal's Python client through fal's own names and at a plain address, and plain
WebSockets where a client cannot show it."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.request
from types import SimpleNamespace

import fal_client.client as fal_client
import msgpack
import pytest
import wire
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

APPLICATION = pathlib.Path(__file__).with_name("realtime_app.py")
APP = "fal-ai/any-llm"
KINDS = {"sync": "fal-client", "async": "fal-client-async"}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
KEYS = """
realtime_idle: 2
keys:
  - { id: kid, secret: ksecret, owner: team }
  - { id: other, secret: s, owner: others }
  - { id: rate, secret: s, requests_per_minute: 2 }
  - { id: one, secret: s, concurrent_calls: 1 }
"""


@pytest.fixture(scope="module")
def server(mock):
    config = mock.config(
        ok="/ok",
        slow="/tokens/20/sse-interval/50",
        endless="/tokens/100000/sse-interval/20",
        late="/delay/300",
        silent="/silent",
        failing="/status/500",
        cut="/cut/700",
        extra=KEYS,
    )
    server = wire.Server(config)
    server.ws = server.base.replace("http://", "ws://")
    yield server
    server.stop()


def token(server, apps=("any-llm",), seconds=120, key=wire.KEY):
    status, body = server.call("POST", "/rest/tokens/", {"allowed_apps": list(apps), "token_expiration": seconds}, key=key)
    assert status == 200, body
    return body


def opened(server, path=f"/run/{APP}/realtime", key=wire.KEY, query="", **options):
    headers = {"Authorization": f"Key {key}"} if key else {}
    return connect(server.ws + path + query, additional_headers=headers, max_size=None, **options)


def ask(nonce, **more):
    return {"prompt": f"nonce:{nonce} hello"} | more


def whole(ws):
    """The outputs up to the last one of an input, decoded as they came."""
    outputs = []
    while not outputs or outputs[-1].get("partial"):
        frame = ws.recv(timeout=20)
        outputs.append(msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame))
    return outputs


# --- fal's client


def application(kind, command=(), **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FAL_")}
    ran = subprocess.run(
        [*command, sys.executable, "-B", APPLICATION, kind],
        env=clean | {"FAL_KEY": wire.KEY} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(params=KINDS)
def client(request):
    return SimpleNamespace(kind=request.param, cell_id=KINDS[request.param])


@pytest.fixture(scope="session")
def tls_12(tmp_path_factory):
    """The sync client reads in one thread and writes in another on one TLS connection. Where a ticket of TLS 1.3 comes just
    then, one in a hundred of its requests is never sent."""
    file = tmp_path_factory.mktemp("openssl") / "openssl.cnf"
    file.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n")
    return str(file)


@pytest.mark.feature("realtime")
def test_fals_names_lead_here(client, fals_names, tls_12):
    environment = {"OPENSSL_CONF": tls_12} if client.kind == "sync" else {}
    result = application(client.kind, fals_names.command, SSL_CERT_FILE=str(fals_names.trusted), **environment)
    for name in ("token", "key"):
        for i, output in enumerate(result[name]):
            assert output["output"].startswith(f"nonce:{name}{i}") and output["partial"] is False
    start, body, end = result["ws_connect"]
    assert (start["type"], start["status"]) == ("start", 200)
    assert body["output"].startswith("nonce:ws")
    assert end["request_id"] == start["request_id"] and end["time_to_first_byte_seconds"] >= 0
    assert json.loads(result["ws_stream"][0])["headers"]["content-type"] == "text/event-stream"
    last = result["ws_stream"][-1]
    assert last.startswith("data: ") and last.endswith("}\n\n")
    assert json.loads(last[6:])["output"].startswith("nonce:stream")


@pytest.fixture
def plain(server, monkeypatch):
    """The lines that lead fal's client to a plain address."""
    monkeypatch.setattr(fal_client, "REALTIME_URL_FORMAT", f"{server.ws}/run/")
    monkeypatch.setattr(fal_client, "REST_URL", f"{server.base}/rest")
    monkeypatch.setattr(fal_client, "RUN_URL_FORMAT", f"{server.base}/run/")
    return fal_client.SyncClient(key=wire.KEY)


def test_a_fault_raises_and_the_connection_stays(plain):
    with plain.realtime(APP) as connection:
        connection.send({"prompt": 5})
        with pytest.raises(fal_client.RealtimeError, match="VALIDATION_ERROR: body.prompt: ") as raised:
            connection.recv()
        assert raised.value.payload["detail"][0]["loc"] == ["body", "prompt"]
        connection.send({"prompt": "x", "model": "test/failing"})
        with pytest.raises(fal_client.RealtimeError) as raised:
            connection.recv()
        assert raised.value.error == "RUNNER_SERVER_ERROR" and raised.value.payload["status"] == 502
        connection.send(ask("stays"))
        assert connection.recv()["output"].startswith("nonce:stays")


def test_idle_is_told_and_closed_normally(plain):
    with plain.realtime(APP) as connection:
        with pytest.raises(fal_client.RealtimeError, match="TIMEOUT: no inputs, reconnect when needed!"):
            connection.recv()
        assert connection.recv() is None  # closed with 1000


def test_an_answer_longer_than_idle_is_not_cut(server):
    with opened(server) as ws:
        ws.send(json.dumps({"prompt": "x", "model": "test/endless"}))
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert json.loads(ws.recv(timeout=5))["partial"]


def test_a_bad_key_in_the_handshake_is_401(server):
    for key in ("kid:wrong", "", None):
        with pytest.raises(InvalidStatus) as raised:
            opened(server, key=key)
        assert raised.value.response.status_code == 401


def unauthorized(server, query, path=f"/run/{APP}/realtime"):
    with opened(server, path, key=None, query=query) as ws:
        assert json.loads(ws.recv(timeout=5)) == {"status": "error", "error": "Unauthorized"}
        with pytest.raises(ConnectionClosed) as raised:
            ws.recv(timeout=5)
        assert raised.value.rcvd.code == 1008


def test_a_token_that_opens_nothing_is_told_in_a_message(server):
    unauthorized(server, "?fal_jwt_token=x.y.z")
    unauthorized(server, "?fal_jwt_token=")
    other_app = token(server, ["other"])
    unauthorized(server, f"?fal_jwt_token={other_app}")
    unauthorized(server, f"?fal_jwt_token={other_app}", path=f"/run/{APP}")
    short = token(server, seconds=1)
    time.sleep(1.1)
    unauthorized(server, f"?fal_jwt_token={short}")


def test_a_connection_outlives_its_token(server):
    with opened(server, key=None, query=f"?fal_jwt_token={token(server, seconds=1)}") as ws:
        time.sleep(1.2)
        ws.send(json.dumps(ask("outlives")))
        assert whole(ws)[-1]["output"].startswith("nonce:outlives")


def test_tokens_name_apps_as_clients_do(server):
    for apps in (["any-llm"], [APP], [f"{APP}/realtime"], ["other", "any-llm"], ["110602490-any-llm"]):
        with opened(server, key=None, query=f"?fal_jwt_token={token(server, apps)}") as ws:
            ws.send(json.dumps(ask("named")))
            assert whole(ws)[-1]["output"].startswith("nonce:named")
    status, body = server.call("POST", "/rest/tokens/realtime", {"allowed_apps": [f"{APP}/realtime"], "duration": 5})
    assert status == 200 and list(body) == ["token"]
    with opened(server, key=None, query=f"?fal_jwt_token={body['token']}") as ws:
        ws.send(json.dumps(ask("duration")))
        assert whole(ws)[-1]["output"].startswith("nonce:duration")


def test_no_token_is_in_the_log(server):
    secret = token(server)
    with opened(server, key=None, query=f"?fal_jwt_token={secret}") as ws:
        ws.send(json.dumps(ask("log")))
        whole(ws)
    assert secret.split(".")[2] not in server.text()


# --- inputs and outputs


@pytest.mark.parametrize("pack", [json.dumps, msgpack.packb], ids=["json", "msgpack"])
def test_outputs_are_cumulative_and_in_the_form_of_the_input(server, pack):
    with opened(server) as ws:
        ws.send(pack(ask("grows", model="test/slow", request_id="r-1")))
        outputs = []
        while not outputs or outputs[-1]["partial"]:
            frame = ws.recv(timeout=20)
            assert isinstance(frame, bytes) == (pack is msgpack.packb)
            outputs.append(msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame))
        assert len(outputs) > 3
        for before, after in zip(outputs, outputs[1:]):
            assert after["output"].startswith(before["output"])
        assert all(o["error"] is None and o["request_id"] == "r-1" for o in outputs)
        assert outputs[-1]["usage"]["completion_tokens"] > 0


def test_inputs_are_answered_in_order(server):
    with opened(server) as ws:
        for i in range(40):
            ws.send(json.dumps(ask(f"order{i}x", model="test/ok" if i % 2 else "test/late", request_id=str(i))))
        for i in range(40):
            last = whole(ws)[-1]
            assert last["output"].startswith(f"nonce:order{i}x") and last["request_id"] == str(i)


def test_with_max_buffering_the_newest_count(server):
    with opened(server, query="?max_buffering=2") as ws:
        for i in range(10):
            ws.send(json.dumps(ask("newest", model="test/late", request_id=str(i))))
        seen, dropped = [], 0
        while seen != ["0", "8", "9"]:
            output = json.loads(ws.recv(timeout=10))
            if output.get("type") == "x-fal-message":
                dropped += 1
            elif not output["partial"]:
                seen.append(output["request_id"])
        assert dropped == 7


@pytest.mark.parametrize("value", ["0", "61", "x", "", "1&max_buffering=1"])
def test_max_buffering_is_1_to_60(server, value):
    with pytest.raises(InvalidStatus) as raised:
        opened(server, query=f"?max_buffering={value}")
    assert raised.value.response.status_code == 400


def test_bytes_are_files_where_a_file_is_taken(server, mock):
    with opened(server, path=f"/run/{APP}/vision/realtime") as ws:
        ws.send(msgpack.packb(ask("pixel", image_url=PIXEL)))
        assert whole(ws)[-1]["output"].startswith("nonce:pixel")
        ws.send(msgpack.packb({"prompt": b"bytes"}))
        assert json.loads(ws.recv(timeout=5))["reason"] == "bytes (msgpack's bin) where no file is taken"


def test_a_file_of_ours_travels_as_data(server, mock):
    status, begun = server.call("POST", "/rest/storage/upload/initiate", {"content_type": "image/png", "file_name": "a.png"})
    assert status == 200
    put = urllib.request.Request(begun["upload_url"], PIXEL, {"Content-Type": "image/png"}, method="PUT")
    assert urllib.request.urlopen(put).status == 200
    unknown = f"{server.base}/cdn/files/b/{'0' * 32}.png"
    with opened(server, path=f"/run/{APP}/vision/realtime") as ws:
        ws.send(json.dumps(ask("unknown", image_url=unknown)))
        assert json.loads(ws.recv(timeout=5))["error"] == "FILE_DOWNLOAD_ERROR"
        ws.send(json.dumps(ask("file", image_url=begun["file_url"])))
        assert whole(ws)[-1]["output"].startswith("nonce:file")
        assert base64.b64encode(PIXEL).decode() in mock.stats()["last_body"]
        ws.send(json.dumps(ask("leaves", image_url=begun["file_url"])))


BAD = [
    ("{", "VALIDATION_ERROR"),
    ("[]", "VALIDATION_ERROR"),
    ('{"prompt":"a","prompt":"b"}', "VALIDATION_ERROR"),
    ("{}", "VALIDATION_ERROR"),
    (b"\xc1", "BAD_REQUEST"),
    (b"\x81\xa6prompt", "BAD_REQUEST"),
    (b"\xdd\xff\xff\xff\xff", "BAD_REQUEST"),
    (msgpack.packb({"prompt": msgpack.Timestamp(1)}), "BAD_REQUEST"),
    (b"\x81\xa6prompt\xa1\xff", "VALIDATION_ERROR"),  # not UTF-8
    (msgpack.packb([1]), "VALIDATION_ERROR"),
]


def test_bad_inputs_are_told_and_survived(server):
    with opened(server) as ws:
        for message, error in BAD:
            ws.send(message)
            told = json.loads(ws.recv(timeout=5))
            assert (told["type"], told["error"]) == ("x-fal-error", error), message
            assert told["reason"] and told["status"] in (400, 422)
        ws.send(json.dumps(ask("survived")))
        assert whole(ws)[-1]["output"].startswith("nonce:survived")


def test_limits_count_inputs(server):
    with opened(server, key="rate:s") as ws:
        for i in range(2):
            ws.send(json.dumps(ask(f"rate{i}")))
            assert not whole(ws)[-1]["partial"]
        ws.send(json.dumps(ask("over", request_id="r")))
        told = json.loads(ws.recv(timeout=5))
        assert told["error"] == "RATE_LIMIT_EXCEEDED" and told["status"] == 429 and told["retry_after"] > 0
        assert told["request_id"] == "r"
    with opened(server, key="one:s") as first, opened(server, key="one:s") as second:
        first.send(json.dumps(ask("one", model="test/endless")))
        first.recv(timeout=5)
        second.send(json.dumps(ask("two")))
        assert json.loads(second.recv(timeout=5))["error"] == "CONCURRENT_REQUESTS_LIMIT"
        first.close()
        wire.wait_until(lambda: _answers(second), 10)
        assert all(_answers(second) for _ in range(3))  # each gives its place back


def _answers(ws):
    ws.send(json.dumps(ask("again")))
    return "type" not in whole(ws)[-1]


def test_leaving_cancels_the_upstream_call(server, mock):
    aborted = mock.stats()["aborted"]
    with opened(server) as ws:
        ws.send(json.dumps(ask("leaves", model="test/endless")))
        ws.recv(timeout=5)
    wire.wait_until(lambda: mock.stats()["aborted"] == aborted + 1, 10)
    with opened(server) as ws:
        ws.send(json.dumps(ask("breaks", model="test/endless")))
        ws.recv(timeout=5)
        ws.socket.close()
        wire.wait_until(lambda: mock.stats()["aborted"] == aborted + 2, 10)


def test_a_cut_answer_is_an_error_and_never_looks_whole(server):
    with opened(server) as ws:
        ws.send(json.dumps(ask("cut", model="test/cut")))
        outputs = []
        while not outputs or "type" not in outputs[-1]:
            outputs.append(json.loads(ws.recv(timeout=5)))
        assert outputs[-1]["error"] == "RUNNER_INCOMPLETE_RESPONSE"
        assert all(o["partial"] for o in outputs[:-1])


def test_each_input_is_in_the_books(server):
    with opened(server, key="other:s") as ws:
        for i in range(3):
            ws.send(json.dumps(ask(f"books{i}")))
            whole(ws)
    command = [wire.BUILD / "anyllm", "usage", "--by", "owner", "--data", server.folder / "data"]

    def booked():  # written behind, a second later at most
        rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return any(row.split()[:2] == ["others", "3"] for row in rows)

    wire.wait_until(booked, 10)


# --- HTTP over WebSocket


def frames(ws):
    got = []
    while not got or not (isinstance(got[-1], dict) and got[-1].get("type") == "end"):
        text = ws.recv(timeout=20)
        got.append(json.loads(text) if text.startswith("{") else text)
    return got


def test_requests_over_a_websocket_are_answered_in_order(server):
    with opened(server, path=f"/run/{APP}") as ws:
        for i in range(5):
            ws.send(json.dumps(ask(f"http{i}x", model="test/late" if i == 0 else "test/ok")))
        for i in range(5):
            start, body, end = frames(ws)
            assert start["headers"]["content-type"] == "application/json"
            assert start["headers"]["x-fal-request-id"] == start["request_id"] == end["request_id"]
            assert body["output"].startswith(f"nonce:http{i}x") and (start["status"], end["status"]) == (200, 200)


def test_a_fault_over_a_websocket_has_its_status(server):
    with opened(server, path=f"/run/{APP}") as ws:
        ws.send("{}")
        start, body, end = frames(ws)
        assert (start["status"], end["status"]) == (422, 422) and body["detail"][0]["loc"] == ["body", "prompt"]
        ws.send(json.dumps(ask("f", model="test/failing")))
        start, body, end = frames(ws)
        assert start["status"] == 502 and body["error_type"] == "runner_server_error"
        ws.send(b"\x80")
        with pytest.raises(ConnectionClosed) as raised:
            ws.recv(timeout=5)
        assert raised.value.rcvd.code == 1003


def test_a_stream_over_a_websocket_is_sse_in_frames(server):
    with opened(server, path=f"/run/{APP}/stream") as ws:
        for nonce in ("first", "second"):
            ws.send(json.dumps(ask(nonce, model="test/slow")))
            start, *events, end = frames(ws)
            assert start["headers"]["content-type"] == "text/event-stream"
            assert len(events) > 3 and all(e.startswith("data: {") and e.endswith("\n\n") for e in events)
            assert json.loads(events[-1][6:])["output"].startswith(f"nonce:{nonce}")
            assert end["status"] == 200


def test_what_is_no_realtime_application_is_404(server):
    for path in ("/run/fal-ai/unknown/realtime", "/run/openrouter/router/openai/v1/chat/completions/realtime", f"/run/{APP}/nothing"):
        with pytest.raises(InvalidStatus) as raised:
            opened(server, path=path)
        assert raised.value.response.status_code == 404


# --- ends


def test_sigterm_lets_the_running_answer_end(mock):
    server = wire.Server(mock.config(slow="/tokens/20/sse-interval/50", extra="realtime_idle: 60"), "--grace", "10")
    server.ws = server.base.replace("http://", "ws://")
    with opened(server, key=None) as busy, opened(server, key=None) as idle:
        busy.send(json.dumps(ask("term")))
        busy.recv(timeout=5)
        busy.send(json.dumps(ask("never begun")))
        threading.Thread(target=server.stop).start()
        with pytest.raises(ConnectionClosed) as raised:
            idle.recv(timeout=5)
        assert raised.value.rcvd.code == 1001
        assert whole(busy)[-1]["output"].startswith("nonce:term")
        with pytest.raises(ConnectionClosed) as raised:
            busy.recv(timeout=5)
        assert raised.value.rcvd.code == 1001
    wire.wait_until(lambda: server.process.poll() is not None, 10)
    assert server.process.returncode == 0


def test_an_open_server_takes_tokens_from_its_own_pages_only(mock):
    server = wire.Server(mock.config(ok="/ok"))
    server.ws = server.base.replace("http://", "ws://")
    try:
        secret = token(server)
        with opened(server, key=None, query=f"?fal_jwt_token={secret}", origin="http://localhost:3000") as ws:
            ws.send(json.dumps(ask("open")))
            assert whole(ws)[-1]["output"].startswith("nonce:open")
        with opened(server, key=None, query=f"?fal_jwt_token={secret}", origin="https://evil.example") as ws:
            assert json.loads(ws.recv(timeout=5))["error"] == "Unauthorized"
        with pytest.raises(InvalidStatus) as raised:
            opened(server, key=None, origin="https://evil.example")
        assert raised.value.response.status_code == 403
    finally:
        server.stop()
