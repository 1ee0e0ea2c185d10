"""The ledger: one row for each attempt that reached an upstream, what it costs, what is charged, and what a death loses."""

import contextlib
import http.client
import json
import signal
import time

import pytest
import wire

KEYS = """keys:
  - { id: boss, secret: secret-of-the-boss, scope: ADMIN, owner: op }
  - { id: app, secret: secret-of-the-app, owner: team }
"""
BOSS, APP = "boss:secret-of-the-boss", "app:secret-of-the-app"
ANY, ROUTER, CHAT = "fal-ai/any-llm", "openrouter/router", "openrouter/router/openai/v1/chat/completions"
UPSTREAMS = {
    "good": "", "paid": "/cost", "bad": "/status/500", "refusing": "/status/400", "cut": "/cut/e5",
    "slow": "/sse-interval/100/tokens/200", "slowcost": "/openrouter/sse-interval/100/tokens/200", "silent": "/silent",
    "absurd": "/usage/absurd", "negative": "/usage/negative", "missing": "/usage/missing", "refused": "http://127.0.0.1:1",
    "flaky": "/flaky/1",
}  # fmt: skip


@contextlib.contextmanager
def serving(mock, *args):
    server = wire.Server(mock.config(KEYS, **UPSTREAMS), *args).ready()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()


@pytest.fixture(scope="module")
def server(mock):
    with serving(mock) as server:
        yield server
        server.stop()


def post(server, path, headers=(), **body):
    """The head of the answer and its body; the connection is closed unread when it is a stream."""
    connection = http.client.HTTPConnection(server.base.removeprefix("http://"))
    head = {"Authorization": f"Key {APP}", "Content-Type": "application/json", **dict(headers)}
    connection.request("POST", path, json.dumps({"prompt": "hi", **body}), head)
    return connection, connection.getresponse()


def run(server, path, **body):
    connection, answer = post(server, path, **body)
    answer.read()
    connection.close()
    return answer


def rows(server, id):
    found = server.call("GET", f"/platform/v1/models/billing-events?request_id={id}", key=BOSS)[1]["billing_events"]
    return sorted(found, key=lambda row: row["attempt"])


def row_of(server, answer_or_id):
    id = answer_or_id if isinstance(answer_or_id, str) else answer_or_id.headers["x-fal-request-id"]
    wire.wait_until(lambda: rows(server, id), 10)
    (row,) = rows(server, id)
    return row


def is_charged(row, charge, cost=..., units=..., partial=False, status=200):
    assert row["cost_total"] == charge and row["partial"] == partial and row["status_code"] == status, row
    assert row["cost_estimate_nano_usd"] == (None if charge is None else round(charge * 1e9))
    if cost is not ...:
        assert row["upstream_cost"] == cost
    if units is not ...:
        assert row["output_units"] == units


IMAGE = {"image_url": "https://example.org/cat.png"}


@pytest.mark.parametrize(
    "path, body, units, charge",
    [
        (ANY, {}, "1", 0.001),
        (ANY, {"model": "openai/gpt-4o"}, "10", 0.01),
        (ANY, IMAGE | {"model": "google/gemini-2.5-flash"}, "3", 0.003),
        (ANY + "/vision", {}, "3", 0.003),
        (ANY + "/vision", IMAGE | {"model": "openai/gpt-4o"}, "30", 0.03),
        (ANY + "/enterprise", {}, None, None),
        (ROUTER, {"model": "test/paid"}, "0.00012300", 0.000123),
    ],
)
def test_charges_are_by_request_or_by_cost(server, path, body, units, charge):
    answer = run(server, "/run/" + path, **body)
    if units is None:  # no upstream here keeps nothing
        assert answer.status == 422 and answer.headers["x-fal-billable-units"] == "0"
        return
    assert answer.status == 200 and answer.headers["x-fal-billable-units"] == units
    is_charged(row_of(server, answer), charge, units=float(units))


def test_openais_paths_are_charged_by_cost(server):
    messages = [{"role": "user", "content": "hi"}]
    for path in ("/v1/chat/completions", "/run/" + CHAT):
        for stream in (False, True):
            answer = run(server, path, prompt=None, model="test/paid", messages=messages, stream=stream)
            row = row_of(server, answer)
            is_charged(row, 0.000123, 0.000123)
            assert row["endpoint_id"] == CHAT


def test_markup_and_rate_are_the_configurations(mock):
    with serving(mock, "--markup", "1.5", "--standard-rate", "0.0025") as server:
        paid = run(server, "/run/" + ROUTER, model="test/paid")
        assert paid.headers["x-fal-billable-units"] == "0.00018500"  # 184.5 micro-dollars
        is_charged(row_of(server, paid), 0.000185, 0.000123)
        is_charged(row_of(server, run(server, "/run/" + ANY, model="openai/gpt-4o")), 0.025)
        server.stop()


@pytest.mark.parametrize("fault", ["absurd", "negative", "missing"])
def test_usage_that_is_none_is_null_and_never_0(server, fault):
    answer = run(server, "/run/" + ROUTER, model="test/" + fault)
    assert answer.status == 200 and answer.headers["x-fal-billable-units"] is None
    row = row_of(server, answer)
    is_charged(row, None, None, None)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (0, 0)
    alarm = f"event=usage_unknown rid={answer.headers['x-fal-request-id']}"
    assert (alarm in server.text()) == (fault != "missing")


def test_what_failed_is_charged_0(server):
    for model, status in (("test/bad", 502), ("test/refusing", 422)):
        answer = run(server, "/run/" + ROUTER, model=model)
        assert answer.status == status and answer.headers["x-fal-billable-units"] == "0"
        is_charged(row_of(server, answer), 0, None, 0, status=status)
    _, answer = post(server, f"/run/{ROUTER}/stream", model="test/cut")
    with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
        answer.read()
    is_charged(row_of(server, answer), 0, None, 0, partial=True, status=502)


def test_what_reached_no_upstream_is_no_row(server):
    nobody = run(server, "/run/" + ROUTER, model="test/refused")
    assert nobody.status == 503
    after = run(server, "/run/" + ROUTER, model="test/paid")
    assert row_of(server, after) and rows(server, nobody.headers["x-fal-request-id"]) == []


def leave(server, path, model, **body):
    connection, answer = post(server, path, model=model, **body)
    answer.read(20)
    connection.sock.shutdown(2)
    connection.close()
    return answer.headers["x-fal-request-id"]


def test_a_caller_who_leaves_is_charged_what_was_produced(server):
    id = leave(server, f"/run/{ROUTER}/stream", "test/slow")
    row = row_of(server, id)
    is_charged(row, None, None, None, partial=True, status=499)
    assert row["model"] == "test/slow"  # though the input is gone
    messages = [{"role": "user", "content": "hi"}]
    id = leave(server, "/v1/chat/completions", "test/slow", prompt=None, messages=messages, stream=True)
    is_charged(row_of(server, id), None, None, None, partial=True, status=499)


def test_who_leaves_any_llm_is_charged_its_rate(mock):
    config = mock.config(KEYS, slow="/sse-interval/100/tokens/200")  # for every model
    server = wire.Server(config).ready()
    id = leave(server, f"/run/{ANY}/stream", "openai/gpt-4o")
    is_charged(row_of(server, id), 0.01, None, 10, partial=True, status=499)
    server.stop()


def submitted(server, path=ROUTER, **body):
    return json.loads(post(server, "/queue/" + path, **body)[1].read())["request_id"]


def completed(server, id, path=ROUTER):
    wire.wait_until(lambda: server.call("GET", f"/queue/{path}/requests/{id}/status", key=APP)[0] == 200, 20)


def test_queued_requests_have_a_row_for_each_attempt(server):
    id = submitted(server, model="test/flaky", prompt="twice")
    completed(server, id)
    first, second = rows(server, id)
    assert (first["attempt"], first["cost_total"]) == (1, 0)
    assert (second["attempt"], second["status_code"], second["partial"]) == (2, 200, False)
    id = submitted(server, ANY)
    completed(server, id, ANY)
    is_charged(row_of(server, id), 0.001, units=1)
    status, _ = server.call("GET", f"/queue/{ANY}/requests/{id}", key=APP)
    assert status == 200


def test_a_cancelled_request_that_was_sent_is_charged_as_one_that_was_left(server):
    id = submitted(server, model="test/slow", prompt="cancel me")
    wire.wait_until(lambda: server.call("GET", f"/queue/{ROUTER}/requests/{id}/status", key=APP)[1]["status"] == "IN_PROGRESS", 10)
    time.sleep(0.3)
    assert server.call("PUT", f"/queue/{ROUTER}/requests/{id}/cancel", key=APP)[0] == 202
    completed(server, id)
    is_charged(row_of(server, id), None, None, None, partial=True, status=499)


def test_rows_name_key_and_owner(server):
    answer = run(server, "/run/" + ROUTER, model="test/paid")
    row_of(server, answer)
    id = answer.headers["x-fal-request-id"]
    found = server.call("GET", f"/platform/v1/models/billing-events?request_id={id}&api_key_id=app&login_username=team", key=BOSS)
    assert len(found[1]["billing_events"]) == 1
    queued = submitted(server, model="test/paid")
    completed(server, queued)
    found = server.call("GET", f"/platform/v1/models/billing-events?request_id={queued}&expand=auth_method", key=BOSS)
    assert found[1]["billing_events"][0]["auth_method"] == "app"


# --- the ends of a server


def restarted(server):
    server.process.wait()
    server.start(server.base.removeprefix("http://"))
    return server.ready()


def test_a_kill_after_the_window_loses_nothing(mock):
    with serving(mock) as server:
        ids = [run(server, "/run/" + ROUTER, model="test/paid").headers["x-fal-request-id"] for _ in range(20)]
        time.sleep(1.6)  # LEDGER_WINDOW_MS, and the writing
        server.process.kill()
        restarted(server)
        assert [len(rows(server, id)) for id in ids] == [1] * 20
        server.stop()


def test_a_graceful_end_right_after_the_answer_loses_nothing(mock):
    with serving(mock) as server:
        ids = [run(server, "/run/" + ROUTER, model="test/paid").headers["x-fal-request-id"] for _ in range(300)]
        server.process.send_signal(signal.SIGTERM)
        restarted(server)
        assert [len(rows(server, id)) for id in ids] == [1] * 300
        server.stop()


def test_calls_that_the_end_cuts_off_are_rows(mock):
    """The grace of the server (1 s) is over before their answers are."""
    with serving(mock) as server:
        connection, answer = post(server, f"/run/{ROUTER}/stream", model="test/slow")
        answer.read(20)
        queued = submitted(server, model="test/slow", prompt="given back")
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        restarted(server)
        is_charged(row_of(server, answer), None, None, None, partial=True, status=499)
        connection.close()
        wire.wait_until(lambda: rows(server, queued), 10)
        first = rows(server, queued)[0]
        assert (first["attempt"], first["cost_total"], first["partial"]) == (1, 0, True)
        server.process.kill()

