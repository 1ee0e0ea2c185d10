"""Errors, the client's own repeats, limits, time and leaving, as fal's Python client meets them here."""

import asyncio
import concurrent.futures

import fal_client.client as fal_client
import httpx_sse
import pytest
import wire
from fal_python import APP, ASYNC, KEYS, RESULT, end, refusal, running, through

UNKNOWN = "00000000-0000-4000-8000-000000000000"
feature = pytest.mark.feature


# --- errors: what the exception says, and how often the client asked


def run(model="test/ok", **kwargs):
    return lambda f: f.run(APP, {"prompt": "x", "model": model}, **kwargs)


def queued(**arguments):
    return lambda f: f.submit(APP, arguments, headers={"X-Fal-No-Retry": "1"}).get()


UNHEARD = {"arguments": {"prompt": "x", "model": "test/deaf"}, "headers": {"X-Fal-Request-Timeout": "0.2"}}

# id, row of the page, call, status, error_type, which requests are counted, how many came:
# the client repeats 408, 409 and 429 and nothing else that is ours
REFUSED = [
    ("401 run", "error.401", lambda f: run()(f.with_key("kid:no")), 401, None, "/run/", 1),
    ("401 submit", "error.401", lambda f: f.with_key("kid:no").submit(APP, {"prompt": "x"}), 401, None, "/queue/", 1),
    ("404 app, run", "error.404.app", lambda f: f.run("fal-ai/nope", {"prompt": "x"}), 404, None, "/run/", 1),
    ("404 app, submit", "error.404.app", lambda f: f.submit("fal-ai/nope", {"prompt": "x"}), 404, None, "/queue/", 1),
    ("404 id, status", "error.404.request", lambda f: f.status(APP, UNKNOWN), 404, None, "/status", 1),
    ("404 id, result", "error.404.request", lambda f: f.result(APP, UNKNOWN), 404, None, "/status", 1),
    ("404 id, cancel", "error.404.request", lambda f: f.cancel(APP, UNKNOWN), 404, None, "/cancel", 1),
    ("405 run", "error.404.app", lambda f: f.run(APP, {}, method="GET"), 405, None, "/run/", 1),
    ("400 header", "headers", run(headers={"X-Fal-Request-Timeout": "soon"}), 400, "bad_request", "/run/", 1),
    ("422 run", "error.422.run", lambda f: f.run(APP, {}), 422, None, "/run/", 1),
    ("422 result", "error.422.result", queued(temperature=1), 422, None, RESULT, 1),
    ("429 run", "error.429", run("test/limited"), 429, "rate_limit_exceeded", "/run/", 10),
    ("502 run", "error.503", run("test/failing"), 502, "runner_server_error", "/run/", 1),
    ("502 run, our key", "error.503", run("test/locked"), 502, "runner_server_error", "/run/", 1),
    ("503 run", "error.503", run("test/down"), 503, "runner_scheduling_failure", "/run/", 1),
    ("503 result", "error.503", queued(prompt="x", model="test/down"), 503, "runner_scheduling_failure", RESULT, 1),
    ("504 run", "error.504.user", lambda f: f.run(APP, **UNHEARD), 504, "request_timeout", "/run/", 1),
    ("504 result", "error.504.user", lambda f: f.submit(APP, **UNHEARD).get(), 504, "request_timeout", RESULT, 1),
]


@pytest.mark.parametrize(
    "call, status, error_type, counted, times",
    [pytest.param(*r[2:], id=r[0], marks=feature(r[1])) for r in REFUSED],
)
def test_error_is_told_whole_and_asked_for(fal, hurry, call, status, error_type, counted, times):
    error = refusal(call, fal)
    assert (error.status_code, error.error_type) == (status, error_type)
    assert len(fal.tap.arrived(counted)) == times
    assert error.response_headers["x-fal-request-id"]
    assert error.message == error.response.json()["detail"]
    assert isinstance(error.response.json()["message"], str)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda f: f.run(APP, {}), id="run", marks=feature("error.422.run")),
        pytest.param(queued(), id="result", marks=feature("error.422.result")),
    ],
)
def test_error_of_a_field_names_its_place(fal, call):
    (fault,) = refusal(call, fal).message
    assert (fault["loc"], fault["type"]) == (["body", "prompt"], "missing")
    assert fault["msg"] and fault["url"]


@feature("error.stream", cell="`SSEError`, without the status")
def test_error_before_a_stream_is_no_stream(fal):
    with pytest.raises(httpx_sse.SSEError):
        list(fal.stream(APP, {}))
    assert [s.status for s in fal.tap.seen] == [422]


@feature("error.stream.cut")
def test_stream_cut_upstream_never_looks_finished(fal):
    events = []
    with pytest.raises(fal_client.httpx.RemoteProtocolError):
        for event in fal.stream(APP, {"prompt": "x", "model": "test/cut"}):
            events.append(event)
    assert events[-1]["partial"] and isinstance(events[-1]["error"], str)
    assert len(fal.tap.seen) == 1


@feature("error.504.user")
@feature("retry.504.user", cell="none, as it should be")
def test_a_start_timeout_is_final(narrow, hurry):
    running(narrow)
    late = narrow.submit(APP, {"prompt": "x"}, headers={"X-Fal-Request-Timeout": "0.3"})
    error = refusal(late.get)
    assert (error.status_code, error.error_type) == (504, "request_timeout")
    assert error.response_headers["x-fal-request-timeout-type"] == "user"
    assert [s.status for s in narrow.tap.arrived(RESULT)] == [504]


@feature("error.429")
def test_taken_slots_refuse_direct_calls_and_let_queued_ones_wait(narrow, hurry):
    running(narrow)
    error = refusal(run("test/silent"), narrow)
    assert (error.status_code, error.error_type) == (429, "concurrent_requests_limit")
    assert error.response_headers["x-fal-needs-retry"] == "1"
    assert narrow.submit(APP, {"prompt": "x"}).status() == fal_client.Queued(0)


# --- what the client's own retry meets


def test_a_full_upstream_is_asked_again_until_there_is_room(fal, hurry):
    prompt = f"nonce:freed-{fal.kind}"
    assert prompt in fal.run(APP, {"prompt": prompt, "model": "test/freed"})["output"]
    assert [s.status for s in fal.tap.seen] == [429, 429, 200]
    assert [0.05 <= hurry[0] <= 0.15, 0.1 <= hurry[1] <= 0.3] == [True, True]


@feature("retry.429", cell="repeats up to 9 times")
def test_a_full_queue_is_asked_again_until_there_is_room(narrow, narrow_server, hurry):
    running(narrow)
    waiting = [narrow.submit(APP, {"prompt": "x"}) for _ in range(2)]
    del narrow.tap.seen[:]

    def make_room(seen):
        if len(narrow.tap.arrived("POST")) == 3 and seen.method == "POST":
            end(narrow_server, waiting[0])

    assert refusal(narrow.submit, APP, {"prompt": "x"}).error_type == "queue_full"
    assert [s.status for s in narrow.tap.seen] == [429] * 10
    del narrow.tap.seen[:]
    narrow.tap.plan = make_room
    assert narrow.submit(APP, {"prompt": "x"}).status() == fal_client.Queued(1)
    assert [s.status for s in narrow.tap.arrived("POST")] == [429, 429, 200]


@feature("error.429")
def test_a_keys_own_limit_of_calls_lets_one_after_the_other(fal, hurry):
    mine = fal.with_key(f"one-{fal.kind}:s")
    first = running(mine)
    error = refusal(run(), mine)
    assert (error.status_code, error.error_type) == (429, "concurrent_requests_limit")
    assert error.response_headers["x-fal-needs-retry"] == "1"
    assert mine.submit(APP, {"prompt": "x"}).status() == fal_client.Queued(0)
    first.cancel()
    assert mine.run(APP, {"prompt": "x"})["output"]


def test_a_keys_limit_of_requests_is_asked_ten_times_and_told(fal, hurry):
    mine = fal.with_key(f"rate-{fal.kind}:s")
    assert mine.run(APP, {"prompt": "x"})["output"]
    mine.submit(APP, {"prompt": "x"})
    error = refusal(run(), mine)
    assert (error.status_code, error.error_type) == (429, "rate_limit_exceeded")
    assert 0 < int(error.response_headers["retry-after"]) <= 60
    assert [s.status for s in fal.tap.seen] == [200, 200] + [429] * 10


def test_a_keys_limit_of_polls_slows_the_client_and_no_more(fal):
    """The client waits ever longer by itself, and has its answer."""
    mine = fal.with_key("polls:s")
    handle = mine.submit(APP, {"prompt": "nonce:polls", "model": "test/late"})
    for _ in mine.get_handle(APP, handle.request_id).iter_events(interval=0.01):
        pass
    assert "nonce:polls" in handle.get()["output"]
    assert 429 in [s.status for s in fal.tap.arrived("/status")]


NGINX = wire.answer(502, b"<html><center>nginx</center></html>", "text/html", server="ingress")


@pytest.mark.parametrize("fault", [NGINX, b""], ids=["ingress", "lost"])
def test_faults_before_the_server_are_asked_again(fal, hurry, fault):
    fal.tap.plan = lambda seen: fault if len(fal.tap.seen) <= 2 else None
    assert "nonce:again" in fal.submit(APP, {"prompt": "nonce:again"}).get()["output"]
    assert len(fal.tap.arrived("POST")) == 3


@feature("retry.connection", cell="repeats: two requests")
def test_a_lost_answer_to_submit_makes_a_second_request(fal, mock, hurry):
    """The client says nowhere that the second is the first one again."""
    prompt = f"twice-{fal.kind}"
    fal.tap.plan = lambda seen: wire.LOST if len(fal.tap.seen) == 1 else None
    fal.submit(APP, {"prompt": prompt}).get()
    assert len(fal.tap.arrived("POST")) == 2
    wire.wait_until(lambda: mock.calls(prompt) == 2)


@feature("retry.503", cell="none: sent once")
def test_an_answer_of_ours_is_never_taken_for_an_ingress(fal, hurry):
    """The word nginx in it notwithstanding: x-fal-request-id tells."""
    error = refusal(fal.run, "nginx/nginx", {"prompt": "x"})
    assert "nginx" in error.response.text
    with_our_id = wire.answer(503, {"detail": "nginx"}, x_fal_request_id=error.response_headers["x-fal-request-id"])
    fal.tap.plan = lambda seen: with_our_id
    assert refusal(fal.run, APP, {"prompt": "x"}).status_code == 503
    assert len(fal.tap.seen) == 2


def test_a_server_that_dies_is_asked_again_and_knows_the_request(mock, kind, monkeypatch):
    server = wire.Server(mock.config(late="/delay/500", extra=f"keys: {KEYS}"))
    for fal in through(server, kind, monkeypatch):
        with concurrent.futures.ThreadPoolExecutor() as threads:
            waiting = threads.submit(fal.subscribe, APP, {"prompt": f"nonce:back-{kind}"}, interval=0.02)
            wire.wait_until(lambda: fal.tap.arrived("/status"))
            server.die_and_return()
            assert f"nonce:back-{kind}" in waiting.result()["output"]
        assert len(fal.tap.arrived("POST")) == 1
    server.stop()


# --- time and leaving


@feature("timeout.subscribe")
def test_client_timeout_of_subscribe_cancels_here(fal):
    with pytest.raises(fal_client.FalClientTimeoutError) as caught:
        fal.subscribe(APP, {"prompt": "x", "model": "test/silent"}, client_timeout=1.1, interval=0.05)
    assert fal.tap.arrived("POST")[0].headers["x-fal-request-timeout"] == "1.1"
    error = refusal(fal.get_handle(APP, caught.value.request_id).get)
    assert (error.status_code, error.error_type) == (499, "client_cancelled")


@ASYNC
@feature("subscribe")
def test_sixty_subscribe_at_once(fal):
    """Each asks for its status ten times a second: no limit on a key may stand in their way."""

    async def all_of_them():
        ask = fal.client.target.subscribe
        arguments = [{"prompt": f"nonce:{i:02}", "model": "test/late"} for i in range(60)]
        return await asyncio.gather(*(ask(APP, a, on_queue_update=lambda status: None) for a in arguments))

    results = wire.LOOP.run_until_complete(all_of_them())
    assert [f"nonce:{i:02}" in r["output"] for i, r in enumerate(results)] == [True] * 60
    assert {s.status for s in fal.tap.seen} <= {200, 202}


def test_timeout_of_run_closes_the_upstream_call(fal, mock, hurry):
    """Each of its ten tries does: the client repeats what timed out."""
    aborted = mock.stats()["aborted"]
    with pytest.raises(fal_client.httpx.ReadTimeout):
        fal.run(APP, {"prompt": "x", "model": "test/silent"}, timeout=0.1)
    wire.wait_until(lambda: mock.stats()["aborted"] == aborted + 10)


@feature("abort.stream")
def test_leaving_a_stream_closes_the_upstream_call(fal, mock):
    aborted = mock.stats()["aborted"]
    stream = fal.stream(APP, {"prompt": "x", "model": "test/endless"})
    next(stream)
    stream.close()
    wire.wait_until(lambda: mock.stats()["aborted"] > aborted)


@ASYNC
@feature("abort.run")
def test_leaving_run_closes_the_upstream_call(fal, mock):
    aborted = mock.stats()["aborted"]
    wire.left(fal.client.target.run(APP, {"prompt": "x", "model": "test/silent"}))
    wire.wait_until(lambda: mock.stats()["aborted"] > aborted)


@ASYNC
@feature("abort.subscribe")
def test_leaving_subscribe_leaves_the_request_running(fal):
    ids = []
    arguments = {"prompt": "nonce:left", "model": "test/late"}
    wire.left(fal.client.target.subscribe(APP, arguments, on_enqueue=ids.append), 0.15)
    assert "nonce:left" in fal.result(APP, ids[0])["output"]
