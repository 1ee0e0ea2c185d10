"""fal's official Python client, sync and async, its files untouched, before a server with the mock upstream.

Every request passes the tap, so that what arrived can be counted: the client repeats some of its calls by itself."""

import functools
import socket

import fal_client.client as fal_client
import pytest
import wire

APP = "fal-ai/any-llm"
RESULT = r"GET .*/requests/[^/]*$"
SYNC, ASYNC = (pytest.mark.parametrize("kind", [kind], indirect=True) for kind in ("sync", "async"))


@pytest.fixture(scope="session")
def deaf():
    """Takes connections and says nothing: a TLS handshake with it never ends, so no request leaves for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session")
def fal_server(mock, deaf):
    config = mock.config(
        ok=("/ok", "keeps_nothing: true"),
        deaf=deaf,
        slow="/sse-interval/2",
        endless="/tokens/100000/sse-interval/20",
        late="/delay/300",
        silent="/silent",
        cut="/cut/700",
        smile="/surrogate-split",
        down="/status/503",
        failing="/status/500",
        locked="/status/401",
        limited="/status/429/retry-after/0",
        freed="/flaky/2/status/429/retry-after/0",
        extra=f"keys: {KEYS}\nendpoint_aliases: {{ workflows/me/chat: fal-ai/any-llm }}",
    )
    server = wire.Server(config)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def narrow_server(mock):
    """One request at a time, which never ends, and two that wait."""
    config = mock.config(silent=("/silent", "concurrency: 1"), extra=f"keys: {KEYS}\nmax_queue_length: 2")
    server = wire.Server(config)
    yield server
    server.stop()


KEYS = """
  - { id: kid, secret: ksecret, owner: team }
  - { id: one-sync, secret: s, concurrent_calls: 1 }
  - { id: one-async, secret: s, concurrent_calls: 1 }
  - { id: rate-sync, secret: s, requests_per_minute: 2 }
  - { id: rate-async, secret: s, requests_per_minute: 2 }
  - { id: polls, secret: s, status_polls_per_second: 5 }
"""


@functools.cache
def client(kind, key):
    """Made once: each of its HTTP clients reads all of the system's certificates."""
    return fal_client.SyncClient(key=key) if kind == "sync" else wire.Waits(fal_client.AsyncClient(key=key))


class Fal:
    """One of the client's two faces, both used in the same words."""

    def __init__(self, kind, key=wire.KEY):
        self.kind = kind
        self.cell_id = {"sync": "fal-client", "async": "fal-client-async"}[kind]
        self.client = client(kind, key)

    def __getattr__(self, name):
        return getattr(self.client, name)

    def with_key(self, key):
        return Fal(self.kind, key)


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


def through(server, kind, monkeypatch):
    """The client with its module's addresses set to a tap before this server."""
    with wire.Tap(server.base) as tap:
        monkeypatch.setattr(fal_client, "RUN_URL_FORMAT", f"{tap.base}/run/")
        monkeypatch.setattr(fal_client, "QUEUE_URL_FORMAT", f"{tap.base}/queue/")
        fal = Fal(kind)
        fal.tap = tap
        yield fal
        for seen in tap.seen:
            check_answer(seen)


def check_answer(seen):
    """What keeps fal's clients from asking again in vain: they repeat 408, 409, 429, and what has no request id."""
    if seen.status is None:
        return  # the caller left
    assert "x-fal-request-id" in seen.answer or seen.answer.get("server") == "ingress"
    assert seen.status not in (408, 409)
    assert seen.status != 429 or "retry-after" in seen.answer
    assert "x-fal-request-timeout-type" not in seen.answer or seen.status == 504


@pytest.fixture
def fal(fal_server, kind, monkeypatch):
    yield from through(fal_server, kind, monkeypatch)


@pytest.fixture
def narrow(narrow_server, kind, monkeypatch):
    """A client of the narrow server; what it submits is cancelled at the end."""
    for fal in through(narrow_server, kind, monkeypatch):
        handles = []
        fal.submit = kept(fal.submit, handles)
        yield fal
        for handle in handles[::-1]:
            end(narrow_server, handle)


def kept(submit, handles):
    def submit_and_keep(*args, **kwargs):
        handles.append(submit(*args, **kwargs))
        return handles[-1]

    return submit_and_keep


def end(server, handle):
    server.call("PUT", f"/queue/{APP}/requests/{handle.request_id}/cancel")


@pytest.fixture
def hurry(monkeypatch):
    return wire.hurried(monkeypatch, fal_client, "asyncio")


def refusal(call, *args, **kwargs):
    """The error of a call that must fail."""
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        call(*args, **kwargs)
    return caught.value


def running(fal, **arguments):
    """A submitted request that has begun and does not end."""
    handle = fal.submit(APP, {"prompt": "x", "model": "test/silent"} | arguments)
    wire.wait_until(lambda: isinstance(handle.status(), fal_client.InProgress))
    return handle
