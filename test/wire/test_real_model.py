"""The Python clients and a real language model: queue, worker, llama-server."""

import fal_client.client as fal_client
import openai
import pytest
import wire

APP = "fal-ai/any-llm"
QUESTION = {"prompt": "What is the capital of France? Answer in one sentence.", "temperature": 0, "max_tokens": 40}
pytestmark = pytest.mark.skipif(
    not wire.have_engine(), reason="no llama-server or no model in the cache; `make demo` fetches both"
)


@pytest.fixture(scope="module")
def server():
    server = wire.Server("")
    yield server.ready()
    server.stop()


@pytest.fixture(params=["fal-client", "fal-client-async"])
def fal(request, server, monkeypatch):
    monkeypatch.setattr(fal_client, "RUN_URL_FORMAT", f"{server.base}/run/")
    monkeypatch.setattr(fal_client, "QUEUE_URL_FORMAT", f"{server.base}/queue/")
    kind = fal_client.SyncClient if request.param == "fal-client" else fal_client.AsyncClient
    client = wire.Waits(kind(key=wire.KEY))
    client.cell_id = request.param
    return client


@pytest.mark.feature("real")
def test_subscribe_and_stream_answer(fal):
    states = []
    result = fal.subscribe(APP, QUESTION, with_logs=True, interval=0.02, on_queue_update=states.append)
    assert "Paris" in result["output"] and result["usage"]["completion_tokens"] > 0
    assert any("first token" in line["message"] for line in states[-1].logs)
    events = list(fal.stream(APP, QUESTION))
    assert "Paris" in events[-1]["output"] and not events[-1]["partial"]
    assert len(events) > 3


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI], ids=["sync", "async"])
def ai(request, server):
    client = wire.Waits(request.param(api_key=wire.KEY, base_url=f"{server.base}/v1"))
    client.cell_id = "openai-python"
    return client


@pytest.mark.feature("openai.real")
def test_create_and_stream_answer(ai):
    asked = {
        "model": "local/smollm2-135m-instruct",
        "messages": [{"role": "user", "content": QUESTION["prompt"]}],
        "temperature": 0,
        "max_tokens": 40,
    }
    answer = ai.chat.completions.create(**asked)
    assert "Paris" in answer.choices[0].message.content and answer.usage.completion_tokens > 0
    chunks = list(ai.chat.completions.create(stream=True, **asked))
    assert "Paris" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
