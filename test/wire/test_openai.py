"""OpenAI's official Python client, sync and async, its files untouched, against the server with the mock upstream."""

import functools
import json

import openai
import pytest
import wire
from openai import _base_client

feature = pytest.mark.feature
ASYNC = pytest.mark.parametrize("kind", ["async"], indirect=True)
MODEL = "test/ok"
UNKNOWN = {"made_up": {"a": [1, 2.5, "é"], "b": None}}


@pytest.fixture(scope="module")
def vendor(mock):
    """An upstream whose answers have members that nobody knows."""
    with wire.Tap(mock.url) as vendor:
        vendor.plan = lambda seen: wire.answer(200, ANSWER)
        yield vendor


ANSWER = {
    "id": "v-1",
    "object": "chat.completion",
    "created": 1,
    "model": "vendor/one",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "mood": 0.5}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "watts": 0.25},
} | UNKNOWN


@pytest.fixture(scope="module")
def server(mock, vendor):
    config = mock.config(
        ok="/ok",
        silent="/silent",
        full=("/silent", "concurrency: 1"),
        endless="/tokens/100000/sse-interval/20",
        bad="/status/400",
        down="/status/503",
        limited="/status/429/retry-after/7",
        broken="/error-in-stream",
        extra="keys: [{ id: kid, secret: ksecret, owner: team }]",
    )
    config = config.replace("routes:", f'  vendor: {{ kind: openai, base_url: "{vendor.base}/v1" }}\nroutes:', 1)
    config = config.replace("routes:", 'routes:\n  - { model: "test/vendor", to: [vendor] }', 1)
    server = wire.Server(config)
    yield server
    server.stop()


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


@functools.cache
def client(kind):
    """Made once: its HTTP client reads all of the system's certificates."""
    return openai.OpenAI(api_key=wire.KEY) if kind == "sync" else wire.Waits(openai.AsyncOpenAI(api_key=wire.KEY))


class AI:
    """One of the client's two faces, both used in the same words."""

    cell_id = "openai-python"

    def __init__(self, kind, tap, path="/v1", **options):
        self.kind, self.tap = kind, tap
        self.client = client(kind).with_options(base_url=tap.base + path, **options)

    def __getattr__(self, name):
        return getattr(self.client, name)

    def other(self, path="/v1", **options):
        return AI(self.kind, self.tap, path, **options)

    def create(self, prompt="x", model=MODEL, **members):
        messages = [{"role": "user", "content": prompt}]
        return self.client.chat.completions.create(model=model, messages=messages, **members)


@pytest.fixture
def ai(server, kind):
    with wire.Tap(server.base) as tap:
        yield AI(kind, tap)


@pytest.fixture
def hurry(monkeypatch):
    return wire.hurried(monkeypatch, _base_client, "anyio")


def text(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# --- what works


@feature("openai.create")
def test_create_answers(ai):
    answer = ai.create("nonce:create")
    assert "nonce:create" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.model and answer.id
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@feature("openai.router")
@pytest.mark.parametrize(
    "path", ["/run/openrouter/router/openai/v1", "/openrouter/router/openai/v1"], ids=["run", "bare"]
)
def test_create_at_fals_address_with_fals_key(ai, path):
    there = ai.other(path, default_headers={"Authorization": f"Key {wire.KEY}"})
    assert "nonce:there" in there.create("nonce:there").choices[0].message.content
    assert "nonce:there" in text(there.create("nonce:there", stream=True))


@feature("openai.stream")
def test_stream_gives_deltas_and_ends(ai):
    chunks = list(ai.create("nonce:stream", stream=True))
    assert len(chunks) > 3
    assert "nonce:stream" in text(chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.object == "chat.completion.chunk" and c.usage is None for c in chunks)


@feature("openai.stream.usage")
def test_stream_ends_with_usage_when_asked(ai):
    chunks = list(ai.create(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])


@feature("openai.members")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_members_of_the_request_pass_unchanged(ai, mock, stream):
    members = {
        "top_p": 0.25,
        "seed": 9007199254740993,
        "stop": ["a", "b"],
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }
    list(ai.create("nonce:members é", extra_body=UNKNOWN, stream=stream, **members))
    sent = json.loads(mock.stats()["last_body"])
    assert members | UNKNOWN == {k: v for k, v in sent.items() if k in members | UNKNOWN}
    assert sent["messages"] == [{"role": "user", "content": "nonce:members é"}]


@feature("openai.members")
def test_members_of_the_answer_pass_unchanged(ai):
    answer = ai.create(model="test/vendor")
    assert answer.model_extra["made_up"] == UNKNOWN["made_up"]
    assert answer.choices[0].message.model_extra["mood"] == 0.5
    assert answer.usage.model_extra["watts"] == 0.25


@feature("openai.list", "openai.retrieve")
def test_models_are_listed_and_retrieved(ai):
    models = list(ai.models.list())
    ids = [m.id for m in models]
    assert "openai/gpt-4o" in ids and len(ids) == len(set(ids))
    assert all(m.object == "model" and m.owned_by for m in models)
    assert ai.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"


# --- errors: what is raised, how often the client asked, and its waits

TWICE = "yes; repeats twice"

# fmt: off
# id, row of the page, call, class, how many came: the client repeats 408, 409, 429 and 5xx twice
REFUSED = [
    ("400", ("openai.error.400", "yes"), lambda a: a.create(model="test/bad"), openai.BadRequestError, 1),
    ("400 body", ("openai.error.400", "yes"), lambda a: a.chat.completions.create(model=MODEL, messages="x"), openai.BadRequestError, 1),
    ("401", ("openai.error.401", "yes"), lambda a: a.other(api_key="kid:no").create(), openai.AuthenticationError, 1),
    ("401 list", ("openai.error.401", "yes"), lambda a: list(a.other(api_key="no").models.list()), openai.AuthenticationError, 1),
    ("404", ("openai.error.404", "yes"), lambda a: a.create(model="test/nope"), openai.NotFoundError, 1),
    ("404 retrieve", ("openai.error.404", "yes"), lambda a: a.models.retrieve("test/nope"), openai.NotFoundError, 1),
    ("429", ("openai.error.429", TWICE), lambda a: a.create(model="test/limited"), openai.RateLimitError, 3),
    ("429 stream", ("openai.error.429", TWICE), lambda a: a.create(model="test/limited", stream=True), openai.RateLimitError, 3),
    ("503", ("openai.error.503", TWICE), lambda a: a.create(model="test/down"), openai.InternalServerError, 3),
]


@pytest.mark.parametrize(
    "call, kind_of, times", [pytest.param(*r[2:], id=r[0], marks=feature(r[1][0], cell=r[1][1])) for r in REFUSED]
)
def test_error_is_told_whole_and_asked_for(ai, hurry, call, kind_of, times):
    with pytest.raises(kind_of) as caught:
        call(ai)
    error = caught.value
    assert len(ai.tap.seen) == times
    assert isinstance(error.body["message"], str) and error.body["message"] in str(error)
    assert error.type and "detail" not in error.body
    assert error.response.headers["x-fal-request-id"] == error.request_id


@feature("openai.error.429", cell=TWICE)
def test_retry_after_is_what_the_client_waits(ai, hurry):
    with pytest.raises(openai.RateLimitError):
        ai.create(model="test/limited")
    assert hurry == [7, 7]


@feature("openai.error.429", cell=TWICE)
def test_taken_slots_say_429(ai, hurry, server):
    busy = AI("async", ai.tap).client.target
    running = wire.LOOP.create_task(
        busy.chat.completions.create(model="test/full", messages=[{"role": "user", "content": "x"}])
    )
    wire.LOOP.run_until_complete(wire.asyncio.sleep(0.2))
    with pytest.raises(openai.RateLimitError) as caught:
        ai.create(model="test/full")
    assert caught.value.code == "concurrent_requests_limit"
    running.cancel()


@feature("openai.error.stream")
def test_an_error_in_the_middle_of_a_stream_is_raised(ai):
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in ai.create("nonce:broken", model="test/broken", stream=True):
            chunks.append(chunk)
    assert "nonce:broken" in text(chunks)
    assert caught.value.message


# --- time and leaving


@feature("openai.timeout")
def test_timeout_closes_the_upstream_call(ai, mock, hurry):
    aborted = mock.stats()["aborted"]
    with pytest.raises(openai.APITimeoutError):
        ai.create(model="test/silent", timeout=0.1)
    wire.wait_until(lambda: mock.stats()["aborted"] == aborted + 3)


@ASYNC
@feature("openai.abort")
def test_leaving_create_closes_the_upstream_call(ai, mock):
    aborted = mock.stats()["aborted"]
    messages = [{"role": "user", "content": "x"}]
    wire.left(ai.client.target.chat.completions.create(model="test/silent", messages=messages))
    wire.wait_until(lambda: mock.stats()["aborted"] > aborted)


@feature("openai.abort.stream")
def test_leaving_a_stream_closes_the_upstream_call(ai, mock):
    aborted = mock.stats()["aborted"]
    stream = ai.create(model="test/endless", stream=True)
    next(iter(stream))
    stream.close()
    wire.wait_until(lambda: mock.stats()["aborted"] > aborted)
