"""fal's platform API: the shape of each call, whose things it shows, and its OpenAPI document against the routes and
against schemathesis."""

import datetime
import http.client
import json
import re
import subprocess
from urllib.parse import quote

import pytest
import wire

BOSS, APP, OTHER = "boss:secret-of-the-boss", "app:secret-of-the-app", "other:secret-of-another"
KEYS = """keys:
  - { id: boss, secret: secret-of-the-boss, scope: ADMIN, owner: op }
  - { id: app, secret: secret-of-the-app, owner: team }
  - { id: other, secret: secret-of-another, owner: them }
endpoint_aliases:
  workflows/team/chat: fal-ai/any-llm
"""
ANY, ROUTER = "fal-ai/any-llm", "openrouter/router"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def get(server, path, key=BOSS, expect=200):
    status, body = server.call("GET", "/platform/v1/" + path, key=key)
    assert status == expect, body
    return body


def is_error(body, kind):
    assert set(body) == {"error"} and body["error"]["type"] == kind and body["error"]["message"], body
    assert body["error"]["request_id"]


@pytest.fixture(scope="module")
def server(mock):
    """With calls of each kind in its ledger, and one queued request of each outcome."""
    config = mock.config(KEYS, good="", paid="/cost", bad="/status/400")
    server = wire.Server(config).ready()
    run = lambda path, key=APP, **body: server.call("POST", path, {"prompt": "hi", **body}, key)
    assert run(f"/run/{ANY}")[0] == 200
    assert run(f"/run/{ANY}", model="openai/gpt-4o")[0] == 200
    assert run("/run/workflows/team/chat")[0] == 200
    assert run(f"/run/{ROUTER}", model="test/paid")[0] == 200
    assert run(f"/run/{ROUTER}", model="test/bad")[0] == 422
    assert run(f"/run/{ROUTER}", key=OTHER, model="test/paid")[0] == 200
    server.id = run(f"/queue/{ANY}")[1]["request_id"]
    wire.wait_until(lambda: len(events(server)) == 7, 10)
    yield server
    server.stop()


def events(server, query="", key=BOSS):
    return get(server, "models/billing-events?" + query, key)["billing_events"]


# --- models, prices


def test_models_are_listed_with_what_they_are(server):
    listed = get(server, "models")
    assert set(listed) == {"models", "next_cursor", "has_more"} and listed["has_more"] is False
    assert [m["endpoint_id"] for m in listed["models"]][0] == ANY
    assert "workflows/team/chat" in [m["endpoint_id"] for m in listed["models"]]
    for model in listed["models"]:
        about = model["metadata"]
        wants = "display_name category description status tags updated_at is_favorited thumbnail_url model_url date"
        assert set(wants.split()) <= set(about) and about["status"] == "active" and about["kind"] == "inference"
        assert TIME.fullmatch(about["updated_at"])


def test_models_need_no_key_and_can_be_chosen(server):
    ids = lambda query: [m["endpoint_id"] for m in get(server, "models?" + query, key="")["models"]]
    assert ids(f"endpoint_id={ANY}&endpoint_id={ROUTER}") == [ANY, ROUTER]
    assert ids(f"endpoint_id={ANY},{ROUTER}") == [ANY, ROUTER]
    assert ids("q=ENTERPRISE") and all("enterprise" in i for i in ids("q=ENTERPRISE"))
    assert ids("category=audio-to-text") == ["openrouter/router/audio"]
    assert ids("status=deprecated") == []
    is_error(get(server, "models?endpoint_id=fal-ai/nothing", expect=404), "not_found")


def test_models_come_with_their_openapi(server):
    model = get(server, f"models?endpoint_id={ANY}&expand=openapi-3.0")["models"][0]
    own = server.call("GET", f"/api/openapi/queue/openapi.json?endpoint_id={ANY}")[1]
    assert model["openapi"] == own
    assert get(server, f"models?endpoint_id={ANY}&expand=enterprise_status")["models"][0]["enterprise_status"] == "ready"


def test_pages_go_on_where_the_one_before_ended(server):
    seen, cursor = [], ""
    while cursor is not None:
        page = get(server, "models?limit=3" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["models"]) <= 3 and page["has_more"] == (page["next_cursor"] is not None)
        seen += [m["endpoint_id"] for m in page["models"]]
        cursor = page["next_cursor"]
    assert seen == [m["endpoint_id"] for m in get(server, "models")["models"]]


def test_prices_are_of_a_unit(server):
    prices = get(server, f"models/pricing?endpoint_id={ANY}&endpoint_id={ROUTER}", key=APP)["prices"]
    assert prices == [
        {"endpoint_id": ANY, "unit_price": 0.001, "unit": "requests", "currency": "USD"},
        {"endpoint_id": ROUTER, "unit_price": 1, "unit": "dollars", "currency": "USD"},
    ]
    is_error(get(server, "models/pricing", expect=400), "validation_error")
    is_error(get(server, "models/pricing?endpoint_id=a/b", expect=404), "not_found")
    many = "&".join(["endpoint_id=" + ANY] * 51)
    is_error(get(server, "models/pricing?" + many, expect=400), "validation_error")



def test_estimates(server):
    at = lambda kind, endpoints: server.call(
        "POST", "/platform/v1/models/pricing/estimate", {"estimate_type": kind, "endpoints": endpoints}, APP
    )
    assert at("unit_price", {ANY: {"unit_quantity": 50}, ROUTER: {"unit_quantity": 0.5}}) == (
        200,
        {"estimate_type": "unit_price", "total_cost": 0.55, "currency": "USD"},
    )
    # of this owner's: a plain call, a premium one and a queued one
    assert at("historical_api_price", {ANY: {"call_quantity": 300}})[1]["total_cost"] == pytest.approx(1.2)
    # one well, one failed
    assert at("historical_api_price", {ROUTER: {"call_quantity": 1000}})[1]["total_cost"] == pytest.approx(0.0615)
    assert at("historical_api_price", {"openrouter/router/audio": {"call_quantity": 1}})[0] == 404
    for wrong in ({}, {ANY: {}}, {ANY: {"unit_quantity": -1}}, {ANY: {"unit_quantity": "1"}}, {ANY: {"unit_quantity": 1e13}}):
        status, body = at("unit_price", wrong)
        assert status == 400, wrong
        is_error(body, "validation_error")
    assert at("historical_api_price", {ANY: {"call_quantity": 1.5}})[0] == 400
    assert at("guess", {ANY: {"unit_quantity": 1}})[0] == 400


# --- usage


def test_usage_sums_up_what_was_charged(server):
    usage = get(server, "models/usage?expand=summary&expand=time_series")
    rows = {r["endpoint_id"]: r for r in usage["summary"]}
    assert set(rows) == {ANY, ROUTER, "workflows/team/chat"}
    any_llm = rows[ANY]
    assert (any_llm["unit"], any_llm["quantity"], any_llm["unit_price"]) == ("requests", 12, 0.001)
    assert any_llm["cost"] == any_llm["cost_total"] == any_llm["cost_subtotal"] == 0.012
    assert (any_llm["percent_discount"], any_llm["cost_discount"], any_llm["currency"]) == (0, 0, "USD")
    assert any_llm["calls"] == 3 and "auth_method" not in any_llm
    assert rows[ROUTER]["unit"] == "dollars" and rows[ROUTER]["cost"] == rows[ROUTER]["upstream_cost"] == 0.000246
    assert (rows[ROUTER]["calls"], rows[ROUTER]["calls_without_cost"]) == (3, 1)
    assert all(TIME.fullmatch(b["bucket"]) for b in usage["time_series"])
    summed = sum(r["calls"] for b in usage["time_series"] for r in b["results"])
    assert summed == 7


def test_usage_can_be_chosen(server):
    calls = lambda query: sum(r["calls"] for r in get(server, "models/usage?expand=summary&" + query)["summary"])
    assert calls(f"endpoint_id={ANY}") == 3
    assert calls("api_key_id=other") == 1 and calls("login_username=team") == 6 and calls("api_key_id=nobody") == 0
    assert calls("end=2020-01-02&start=2020-01-01") == 0
    by_key = get(server, "models/usage?expand=summary&expand=auth_method")["summary"]
    assert {(r["endpoint_id"], r["auth_method"]) for r in by_key} >= {(ROUTER, "app"), (ROUTER, "other")}


def day(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.mark.parametrize("frame", ["minute", "hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "+05:30", "-08:00"])
def test_buckets_begin_where_the_zone_says(server, frame, zone):
    start = quote((datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=5)).isoformat())
    query = f"models/usage?timeframe={frame}&timezone={quote(zone)}&start={start}"
    series = get(server, query)["time_series"]
    assert sum(r["calls"] for b in series for r in b["results"]) == 7
    offset = datetime.timezone.utc if zone == "UTC" else datetime.datetime.fromisoformat("2020-01-01T00:00" + zone).tzinfo
    for bucket in series:
        local = day(bucket["bucket"]).astimezone(offset)
        assert (local.second, local.microsecond) == (0, 0)
        assert frame == "minute" or local.minute == 0 or (frame == "hour" and zone == "+05:30")
        assert frame in ("minute", "hour") or local.hour == 0
        assert frame != "week" or local.weekday() == 0
        assert frame != "month" or local.day == 1


def test_a_page_of_buckets_keeps_what_the_first_one_fixed(server):
    query = "models/usage?timeframe=minute&limit=1"
    whole = get(server, "models/usage?timeframe=minute")["time_series"]
    seen, cursor = [], None
    while True:
        page = get(server, query + (f"&cursor={cursor}" if cursor else ""))
        seen += page["time_series"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == whole


@pytest.mark.parametrize(
    "query",
    [
        "timezone=Mars/Olympus", "timezone=%2B25:00", "timeframe=year", "start=yesterday", "start=2026-13-01", "start=2026-02-30",
        "start=2026-01-02&end=2026-01-01", "limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "cursor=abc", "expand=money",
        "timeframe=minute&start=1990-01-01", "bound_to_timeframe=perhaps", "q=%zz&limit=%zz",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_400(server, query):
    is_error(get(server, "models/usage?" + query, expect=400), "validation_error")


def test_analytics_count_and_time(server):
    found = get(server, f"models/analytics?endpoint_id={ROUTER}&expand=summary&expand=time_series")
    (row,) = found["summary"]
    assert (row["request_count"], row["success_count"], row["user_error_count"], row["error_count"]) == (3, 2, 1, 0)
    assert 0 <= row["avg_duration"] <= row["max_duration"] < 5
    assert sum(r["request_count"] for b in found["time_series"] for r in b["results"]) == 3
    few = get(server, f"models/analytics?endpoint_id={ROUTER}&expand=time_series&expand=error_count")
    assert set(few["time_series"][0]["results"][0]) == {"endpoint_id", "error_count"}
    is_error(get(server, "models/analytics", expect=400), "validation_error")


def test_billing_events_say_what_each_call_was_charged(server):
    found = events(server, "expand=auth_method")
    assert len(found) == 7 and [e["timestamp"] for e in found] == sorted((e["timestamp"] for e in found), reverse=True)
    first = found[-1]
    assert first | {"timestamp": 0, "request_id": 0, "upstream_cost": 0, "prompt_tokens": 0, "completion_tokens": 0} == {
        "request_id": 0, "timestamp": 0, "endpoint_id": ANY, "output_units": 1, "unit_price": 0.001,
        "percent_discount": 0, "cost_discount": 0, "cost_subtotal": 0.001, "cost_total": 0.001,
        "cost_estimate_nano_usd": 1000000, "upstream_cost": 0, "status_code": 200, "attempt": 0, "partial": False,
        "model": "google/gemini-2.5-flash-lite", "prompt_tokens": 0, "completion_tokens": 0, "auth_method": "app",
    }  # fmt: skip
    (failed,) = [e for e in found if e["status_code"] == 422]
    assert (failed["cost_total"], failed["upstream_cost"], failed["output_units"]) == (0, None, 0)
    (queued,) = events(server, "request_id=" + server.id)
    assert (queued["attempt"], queued["cost_total"]) == (1, 0.001)
    assert len(events(server, "api_key_id=other")) == 1 and len(events(server, f"endpoint_id={ANY}")) == 3


def test_billing_events_come_in_pages(server):
    seen, cursor = [], ""
    while cursor is not None:
        page = get(server, "models/billing-events?limit=2" + (f"&cursor={cursor}" if cursor else ""))
        seen += page["billing_events"]
        cursor = page["next_cursor"]
    assert seen == events(server)


# --- requests


def test_requests_of_an_endpoint(server):
    found = get(server, f"models/requests/by-endpoint?endpoint_id={ANY}", key=APP)["items"]
    assert len(found) == 3
    for item in found:
        assert set(item) == {"request_id", "endpoint_id", "started_at", "sent_at", "ended_at", "status_code", "duration"}
        assert item["sent_at"] <= item["started_at"] <= item["ended_at"]
    ids = lambda query: [i["request_id"] for i in get(server, "models/requests/by-endpoint?" + query)["items"]]
    assert ids(f"endpoint_id={ANY}&request_id={server.id}") == [server.id]
    assert len(ids(f"endpoint_id={ROUTER}&status=user_error")) == 1 and ids(f"endpoint_id={ROUTER}&status=error") == []
    longest = get(server, f"models/requests/by-endpoint?endpoint_id={ANY}&sort_by=duration")["items"]
    assert [i["duration"] for i in longest] == sorted((i["duration"] for i in longest), reverse=True)
    first = get(server, f"models/requests/by-endpoint?endpoint_id={ANY}&limit=2")
    second = get(server, f"models/requests/by-endpoint?endpoint_id={ANY}&limit=2&cursor={first['next_cursor']}")
    assert len(first["items"]) == 2 and len(second["items"]) == 1 and not second["has_more"]


def test_payloads_are_shown_and_deleted(server):
    id = server.call("POST", f"/queue/{ANY}", {"prompt": "forget me"}, APP)[1]["request_id"]
    at = f"/queue/{ANY}/requests/{id}"
    wire.wait_until(lambda: server.call("GET", at + "/status", key=APP)[0] == 200, 10)
    show = lambda: get(server, f"models/requests/by-endpoint?endpoint_id={ANY}&request_id={id}&expand=payloads")["items"][0]
    assert show()["json_input"] == {"prompt": "forget me"} and show()["json_output"]["output"]
    delete = f"/platform/v1/models/requests/{id}/payloads"
    assert server.call("DELETE", delete, key=APP)[0] == 403
    for _ in range(2):
        assert server.call("DELETE", delete, key=BOSS) == (200, {"cdn_delete_results": []})
    assert show()["json_input"] is None and show()["json_output"] is None
    status, body = server.call("GET", at, key=APP)
    assert status == 410 and "deleted" in body["detail"]
    assert server.call("GET", at + "/status", key=APP)[1]["status"] == "COMPLETED"
    is_error(server.call("DELETE", "/platform/v1/models/requests/nobody/payloads", key=BOSS)[1], "not_found")


# --- keys, meta, account


def test_keys_are_made_listed_and_deleted(server):
    status, made = server.call("POST", "/platform/v1/keys", {"alias": "laptop"}, BOSS)
    assert status == 201 and set(made) == {"key_id", "key_secret", "key"}
    assert made["key"] == f"{made['key_id']}:{made['key_secret']}"
    listed = get(server, "keys?expand=creator")["keys"]
    (mine,) = [k for k in listed if k["key_id"] == made["key_id"]]
    assert TIME.fullmatch(mine.pop("created_at"))
    assert mine == {"key_id": made["key_id"], "alias": "laptop", "scope": "API", "creator_nickname": "op"}
    assert made["key_secret"] not in json.dumps(listed)
    assert get(server, f"models/pricing?endpoint_id={ANY}", key=made["key"])
    assert wire_delete(server, "keys/" + made["key_id"]) == 204
    is_error(get(server, f"models/pricing?endpoint_id={ANY}", key=made["key"], expect=401), "authorization_error")
    assert made["key_id"] not in json.dumps(get(server, "keys"))
    assert wire_delete(server, "keys/" + made["key_id"]) == 204  # twice is as once
    assert wire_delete(server, "keys/nobody") == 404 and wire_delete(server, "keys/app") == 409
    is_error(server.call("POST", "/platform/v1/keys", {}, BOSS)[1], "validation_error")
    assert len(get(server, "keys?limit=1")["keys"]) == 1


def wire_delete(server, path):
    connection = http.client.HTTPConnection(server.base.removeprefix("http://"))
    connection.request("DELETE", "/platform/v1/" + path, headers={"Authorization": f"Key {BOSS}", "Idempotency-Key": "once"})
    return connection.getresponse().status


def test_meta_and_account(server):
    assert get(server, "meta", key="") == {"webhook_ip_ranges": []}
    assert get(server, "account/billing") == {"username": "op"}
    assert get(server, "account/billing?expand=credits")["credits"] == {"current_balance": None, "currency": "USD"}


# --- whose


def test_the_operators_calls_want_scope_admin(server):
    for path in ("models/usage", "models/billing-events", "keys", "account/billing"):
        is_error(get(server, path, key=APP, expect=403), "authorization_error")
        is_error(get(server, path, key="nobody:nothing", expect=401), "authorization_error")


def test_a_key_sees_its_owners_calls_alone(server):
    counts = lambda key: get(server, f"models/analytics?endpoint_id={ROUTER}&expand=summary", key)["summary"][0]["request_count"]
    assert (counts(BOSS), counts(APP), counts(OTHER)) == (3, 2, 1)
    listed = lambda key: len(get(server, f"models/requests/by-endpoint?endpoint_id={ROUTER}", key)["items"])
    assert (listed(BOSS), listed(APP), listed(OTHER)) == (3, 2, 1)
    theirs = get(server, f"models/requests/by-endpoint?endpoint_id={ANY}&request_id={server.id}", OTHER)
    assert theirs["items"] == []


def test_the_platforms_own_host_needs_no_prefix(server):
    host, port = server.base.removeprefix("http://").split(":")
    for path in ("models", f"models/pricing?endpoint_id={ANY}", "models/usage", "keys", "meta"):
        connection = http.client.HTTPConnection(host, int(port))
        connection.request("GET", "/v1/" + path, headers={"Host": "api.fal.ai", "Authorization": f"Key {BOSS}"})
        answer = connection.getresponse()
        at_prefix = get(server, path)
        told = json.loads(answer.read())
        assert answer.status == 200 and set(told) == set(at_prefix), path


# --- the document


def document(server):
    return server.call("GET", "/api/openapi/platform/openapi.json", key="")[1]


def test_the_document_has_the_paths_of_the_routes(server):
    """Path by path and method by method: neither more nor less."""
    routes = (wire.ROOT / "src/api/routes.c").read_text()
    routed = set(re.findall(r'\{H1_(\w+), PLATFORM, "(/v1[^"]*)"', routes))
    assert len(routed) > 10
    described = {
        (method.upper(), re.sub(r"\{\w+\}", "{id}", path)) for path, item in document(server)["paths"].items() for method in item
    }
    assert described == routed


def test_the_document_says_what_the_calls_take(server):
    """Each parameter that the tables of the handlers name is described under its call, and no other."""
    tables = {}
    for file in wire.ROOT.glob("src/api/platform*.c"):
        text = file.read_text()
        times = re.search(r"#define TIMES(.*?)\n\n", text, re.S)
        for name, rows in re.findall(r"struct param (\w+)_rows\[\] = \{(.*?)\n\};", text, re.S):
            rows = rows.replace("TIMES", times[1] if times else "")
            tables[name] = set(re.findall(r'\{"(\w+)",\s*PARAM_', rows.replace("\\\n", "\n")))
    calls = {
        "models": "/v1/models", "pricing": "/v1/models/pricing", "usage": "/v1/models/usage",
        "analytics": "/v1/models/analytics", "events": "/v1/models/billing-events", "billing": "/v1/account/billing",
        "requests": "/v1/models/requests/by-endpoint", "keys": "/v1/keys",
    }  # fmt: skip
    assert set(tables) == set(calls)
    paths = document(server)["paths"]
    for name, path in calls.items():
        assert {p["name"] for p in paths[path]["get"]["parameters"]} == tables[name], name


def test_the_document_names_the_server_as_it_was_reached(server):
    assert document(server)["servers"] == [{"url": server.base + "/platform"}]


@pytest.fixture(scope="module")
def schemathesis():
    found = subprocess.run([wire.ROOT / "scripts/wire-setup.sh", "schema"], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.fail("schemathesis could not be fetched:\n" + found.stderr)
    return found.stdout.strip()


def test_schemathesis_finds_nothing(server, schemathesis, tmp_path):
    """No 5xx, no status or body that the document does not have, nothing wrong let through. Left out: that all it takes for
    right is taken, for the document cannot say that start is before end."""
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document(server)))
    ran = subprocess.run(
        [
            schemathesis, "--config-file", wire.ROOT / "test/wire/schemathesis.toml", "run", file, "--url", server.base + "/platform",
            "-H", f"Authorization: Key {BOSS}", "-n", "10", "--generation-deterministic", "--generation-allow-x00", "false",
            "--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance", "--no-color",
            "--continue-on-failure",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert int(re.search(r"(\d+) generated", ran.stdout)[1]) > 300
