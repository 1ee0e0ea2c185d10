"""What fal's Python client can do, done here."""

import inspect
import json

import fal_client.client as fal_client
import pytest
import wire
from fal_python import APP, ASYNC, RESULT, SYNC, refusal, running

feature = pytest.mark.feature


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
