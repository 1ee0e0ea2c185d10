"""fal's official Python client, sync and async, its files untouched, against the server with the mock upstream.

Every request passes the tap, so that what arrived can be counted: the client repeats some of its calls by itself."""

import asyncio
import concurrent.futures
import functools
import inspect
import json

import fal_client.client as fal_client
import httpx_sse
import pytest
import wire

APP = "fal-ai/any-llm"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
feature = pytest.mark.feature
SYNC, ASYNC = (pytest.mark.parametrize("kind", [kind], indirect=True) for kind in ("sync", "async"))


@pytest.fixture(scope="module")
def server(mock):
    config = mock.config(
        ok=("/ok", "keeps_nothing: true"),
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


@pytest.fixture(scope="module")
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
def fal(server, kind, monkeypatch):
    yield from through(server, kind, monkeypatch)


@pytest.fixture
def tap(fal):
    return fal.tap


@pytest.fixture
def narrow(narrow_server, kind, monkeypatch):
    """A client of the narrow server; what it submits is cancelled at the end."""
    for fal in through(narrow_server, kind, monkeypatch):
        handles = []
        submit = fal.submit
        fal.submit = lambda *args, **kwargs: handles.append(submit(*args, **kwargs)) or handles[-1]
        yield fal
        for handle in handles[::-1]:
            end(narrow_server, handle)


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


# --- what works


@feature("run", "way.attributes")
def test_run_answers_with_output_and_usage(fal):
    result = fal.run(APP, {"prompt": "nonce:run", "system_prompt": "be brief", "temperature": 0.5})
    assert "nonce:run" in result["output"]
    assert (result["partial"], result["error"]) == (False, None)
    assert result["usage"]["total_tokens"] > 0


def test_run_takes_its_path_apart_from_the_app(fal):
    assert "nonce:path" in fal.run("fal-ai", {"prompt": "nonce:path"}, path="/any-llm")["output"]
    assert fal.tap.seen[-1].target == f"/run/{APP}"


@feature("submit")
def test_submit_gives_the_addresses_it_was_called_at(fal):
    handle = fal.submit(APP, {"prompt": "x"})
    at = f"{fal.tap.base}/queue/{APP}/requests/{handle.request_id}"
    assert (handle.response_url, handle.status_url, handle.cancel_url) == (at, f"{at}/status", f"{at}/cancel")


@feature("status", "result")
def test_handle_leads_to_status_and_result(fal):
    handle = fal.submit(APP, {"prompt": "nonce:handle"})
    assert "nonce:handle" in handle.get()["output"]
    status = handle.status(with_logs=True)
    assert isinstance(status, fal_client.Completed)
    assert {"message", "timestamp", "level", "source"} <= status.logs[0].keys()
    assert (status.error, status.error_type) == (None, None)
    assert status.metrics["inference_time"] >= 0


@feature("status", "result")
def test_status_and_result_by_the_id_alone(fal):
    request_id = fal.submit(APP, {"prompt": "nonce:id"}).request_id
    assert "nonce:id" in fal.result(APP, request_id)["output"]
    assert fal.status(APP, request_id) == fal.get_handle(APP, request_id).status()
    assert fal.status(APP, request_id).logs is None


@feature("status")
def test_iter_events_ends_with_completed(fal):
    handle = fal.submit(APP, {"prompt": "nonce:iter", "model": "test/late"})
    events = list(handle.iter_events(with_logs=True, interval=0.02))
    assert not any(isinstance(e, fal_client.Completed) for e in events[:-1])
    assert any(isinstance(e, fal_client.InProgress) and e.logs for e in events)
    assert isinstance(events[-1], fal_client.Completed)


@feature("cancel")
@pytest.mark.parametrize("by", ["handle", "id"])
def test_cancel_ends_a_running_request_and_its_upstream_call(fal, mock, by):
    aborted = mock.stats()["aborted"]
    handle = running(fal)
    handle.cancel() if by == "handle" else fal.cancel(APP, handle.request_id)
    error = refusal(handle.get)
    assert (error.status_code, error.error_type) == (499, "client_cancelled")
    status = handle.status()
    assert isinstance(status, fal_client.Completed) and status.error_type == "client_cancelled"
    wire.wait_until(lambda: mock.stats()["aborted"] > aborted)


def test_position_counts_those_before(narrow):
    running(narrow)
    waiting = [narrow.submit(APP, {"prompt": "x"}) for _ in range(2)]
    assert [h.status() for h in waiting] == [fal_client.Queued(0), fal_client.Queued(1)]


@feature("cancel.queued")
def test_cancel_of_a_waiting_request(narrow, mock):
    running(narrow)
    waiting = narrow.submit(APP, {"prompt": f"never-{narrow.kind}"})
    waiting.cancel()
    assert refusal(waiting.get).error_type == "client_cancelled"
    assert mock.calls(f"never-{narrow.kind}") == 0


@feature("priority")
def test_low_priority_waits_for_normal(narrow):
    first = running(narrow)
    low = narrow.submit(APP, {"prompt": "x"}, priority="low")
    normal = narrow.submit(APP, {"prompt": "x"}, priority="normal")
    assert normal.status() == fal_client.Queued(0)
    first.cancel()
    wire.wait_until(lambda: isinstance(normal.status(), fal_client.InProgress))
    assert low.status() == fal_client.Queued(0)


@feature("subscribe", "subscribe.logs")
def test_subscribe_calls_back_with_id_states_and_logs(fal):
    ids, states = [], []
    result = fal.subscribe(
        APP,
        {"prompt": "nonce:sub", "model": "test/late"},
        with_logs=True,
        interval=0.02,
        on_enqueue=ids.append,
        on_queue_update=states.append,
    )
    assert "nonce:sub" in result["output"]
    assert len(ids) == 1
    assert any(isinstance(s, fal_client.InProgress) and s.logs for s in states)
    assert isinstance(states[-1], fal_client.Completed)


@ASYNC
def test_subscribe_awaits_callbacks_that_are_coroutines(fal):
    seen = []

    async def note(what):
        seen.append(what)

    fal.subscribe(APP, {"prompt": "x"}, on_enqueue=note, on_queue_update=note)
    assert isinstance(seen[0], str) and isinstance(seen[-1], fal_client.Completed)


@feature("stream")
def test_stream_grows_and_ends_whole(fal):
    events = list(fal.stream(APP, {"prompt": "nonce:stream", "model": "test/slow"}))
    assert len(events) > 2
    for shorter, longer in zip(events, events[1:]):
        assert longer["output"].startswith(shorter["output"])
    assert [e["partial"] for e in events] == [True] * (len(events) - 1) + [False]
    assert "nonce:stream" in events[-1]["output"]


@feature("stream.unicode")
def test_stream_keeps_characters_whole(fal):
    events = list(fal.stream(APP, {"prompt": "x", "model": "test/smile"}))
    assert not any("\ufffd" in e["output"] for e in events)
    assert "😀" in events[-1]["output"] and "é" in events[-1]["output"]


PICTURE = "data:image/png;base64,iVBORw0KGgo="
MEDIA = [
    ("fal-ai/any-llm/vision", {"image_urls": [PICTURE]}, {"type": "image_url", "image_url": {"url": PICTURE}}),
    ("fal-ai/any-llm/enterprise", {}, None),
    ("openrouter/router", {"model": "openai/gpt-4o"}, None),
    ("openrouter/router/vision", {"image_urls": [PICTURE]}, {"type": "image_url", "image_url": {"url": PICTURE}}),
    ("openrouter/router/audio", {"audio_url": "data:audio/wav;base64,UklGRg=="}, "input_audio"),
    ("openrouter/router/video", {"video_urls": ["https://example.org/a.mp4"]}, "video_url"),
]


@feature("endpoints", "ids.path")
@pytest.mark.parametrize("app, arguments, part", MEDIA, ids=[m[0] for m in MEDIA])
def test_endpoints_take_their_media(fal, mock, app, arguments, part):
    arguments = {"prompt": "nonce:media", "model": "openai/gpt-4o"} | arguments
    handle = fal.submit(app, arguments)
    assert "nonce:media" in fal.result(app, handle.request_id)["output"]
    owner, alias = app.split("/")[:2]
    targets = {s.target.split("?")[0] for s in fal.tap.arrived("GET")}
    assert targets == {f"/queue/{owner}/{alias}/requests/{handle.request_id}{end}" for end in ("/status", "")}
    if part:
        parts = json.loads(mock.stats()["last_body"])["messages"][-1]["content"]
        assert part in (parts[1], parts[1]["type"]) or part in (parts[0], parts[0]["type"])


@feature("ids.path")
def test_path_is_the_end_of_the_id(fal):
    handle = fal.submit(APP, {"prompt": "nonce:path"}, path="enterprise")
    assert fal.tap.seen[0].target == f"/queue/{APP}/enterprise"
    assert "nonce:path" in handle.get()["output"]


def test_ids_of_workflows_keep_their_first_word(fal):
    request_id = fal.submit("workflows/me/chat", {"prompt": "nonce:flow"}).request_id
    assert "nonce:flow" in fal.result("workflows/me/chat", request_id)["output"]
    assert fal.tap.seen[-1].target == f"/queue/workflows/me/chat/requests/{request_id}"


def test_fields_that_nobody_knows_are_ignored(fal):
    assert "nonce:more" in fal.run(APP, {"prompt": "nonce:more", "messages": [], "seed": 7})["output"]


@feature("ids.legacy")
def test_ids_of_the_old_form(fal):
    old = "110602490-any-llm"
    assert "nonce:old" in fal.run(old, {"prompt": "nonce:old"})["output"]
    handle = fal.submit(old, {"prompt": "nonce:old"})
    assert "nonce:old" in handle.get()["output"]
    assert fal.status(old, handle.request_id) == handle.status()
    assert fal.tap.seen[-2].target.startswith("/queue/110602490/any-llm/requests/")


@feature("openai.queue")
@pytest.mark.parametrize("call", ["run", "subscribe"])
def test_openais_body_under_fals_key(fal, call):
    arguments = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "nonce:body"}]}
    result = getattr(fal, call)("openrouter/router/openai/v1/chat/completions", arguments)
    assert "nonce:body" in result["choices"][0]["message"]["content"]


@feature("hint")
@pytest.mark.parametrize("call", ["run", "submit"])
def test_hint_comes_back(fal, call):
    result = getattr(fal, call)(APP, {"prompt": "x"}, hint="warm")
    result = result.get() if call == "submit" else result
    assert fal.tap.seen[0].headers["x-fal-runner-hint"] == "warm"
    assert fal.tap.seen[-1].answer["x-fal-runner-hints"] == "warm"


@feature("headers")
@pytest.mark.parametrize(
    "options, header, value",
    [
        ({"start_timeout": 30}, "x-fal-request-timeout", "30.0"),
        ({"headers": {"X-Fal-Tags": "team=a"}}, "x-fal-tags", "team=a"),
        ({"headers": {"X-Fal-Store-IO": "0"}}, "x-fal-store-io", "0"),
    ],
    ids=["start_timeout", "tags", "store-io"],
)
@pytest.mark.parametrize("call", ["run", "submit", "subscribe"])
def test_options_travel_as_headers_and_are_taken(fal, call, options, header, value):
    result = getattr(fal, call)(APP, {"prompt": "nonce:opt"}, **options)
    assert "nonce:opt" in (result.get() if call == "submit" else result)["output"]
    assert fal.tap.seen[0].headers[header] == value


# --- errors: what the exception says, and how often the client asked


def run(model="test/ok", **kwargs):
    return lambda f: f.run(APP, {"prompt": "x", "model": model}, **kwargs)


def queued(**arguments):
    return lambda f: f.submit(APP, arguments, headers={"X-Fal-No-Retry": "1"}).get()


RESULT = r"GET .*/requests/[^/]*$"

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
    ("400 header", "headers", lambda f: run(headers={"X-Fal-Request-Timeout": "soon"})(f), 400, "bad_request", "/run/", 1),
    ("422 run", "error.422.run", lambda f: f.run(APP, {}), 422, None, "/run/", 1),
    ("422 result", "error.422.result", queued(temperature=1), 422, None, RESULT, 1),
    ("429 run", "error.429", run("test/limited"), 429, "rate_limit_exceeded", "/run/", 10),
    ("502 run", "error.503", run("test/failing"), 502, "runner_server_error", "/run/", 1),
    ("502 run, our key", "error.503", run("test/locked"), 502, "runner_server_error", "/run/", 1),
    ("503 run", "error.503", run("test/down"), 503, "runner_scheduling_failure", "/run/", 1),
    ("503 result", "error.503", queued(prompt="x", model="test/down"), 503, "runner_scheduling_failure", RESULT, 1),
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


# --- what the client has not


@feature(
    "way.fetch", "way.middleware", "way.proxy", "run.request_id", "subscribe.streaming", "status.stream", "error.400",
    cell="not in this client",
)  # fmt: skip
def test_client_has_no_such_options(fal):
    made = getattr(fal.client, "target", fal.client)
    assert parameters(type(made)) == {"key", "default_timeout"}
    assert "mode" not in parameters(made.subscribe)
    assert [name for name in dir(made) if "stream" in name] == ["stream"]
    assert "request_id" not in fal.run(APP, {"prompt": "x"})
    handle = fal.submit(APP, {"prompt": "x", "model": "test/late"})
    handle.get()  # asks for the result once it is there, never before
    assert [s.status for s in fal.tap.arrived(RESULT)] == [200]


def parameters(callable):
    return set(inspect.signature(callable).parameters)


@SYNC
@feature("abort.run", "abort.subscribe", cell="not in this client")
def test_a_blocking_call_cannot_be_left(fal):
    assert not inspect.iscoroutinefunction(fal.client.run)
