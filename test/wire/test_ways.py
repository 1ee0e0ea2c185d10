"""The ways that lead fal's Python client here by its surroundings alone: environment, names. Both need TLS."""

import json
import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import fal_client.client as fal_client
import pytest
import wire

APPLICATION = pathlib.Path(__file__).with_name("application.py")
feature = pytest.mark.feature
KINDS = {"sync": "fal-client", "async": "fal-client-async"}


@pytest.fixture(params=KINDS)
def client(request):
    return SimpleNamespace(kind=request.param, cell_id=KINDS[request.param])


def outcome(client, command=(), **environment):
    """What the application prints in these surroundings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FAL_")}
    ran = subprocess.run(
        [*command, sys.executable, "-B", APPLICATION, client.kind],
        env=clean | {"FAL_KEY": wire.KEY} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def check(result, at):
    for call in ("run", "submit", "subscribe", "stream"):
        assert f"nonce:{call}" in result[call]["output"]
        assert not result[call]["partial"]
    assert result["status"].startswith("Completed(") and result["last"].startswith("Completed(")
    assert all(url.startswith(at) for url in result["urls"])


@feature("way.environment")
def test_environment_leads_here(client, server_with_tls):
    at = f"localhost:{server_with_tls.port}"
    environment = {"FAL_RUN_HOST": f"{at}/run", "FAL_QUEUE_RUN_HOST": f"{at}/queue"}
    result = outcome(client, SSL_CERT_FILE=str(server_with_tls.trusted), **environment)
    check(result, f"https://{at}/queue/fal-ai/any-llm/")


def test_a_certificate_nobody_vouches_for_is_refused(server_with_tls, monkeypatch):
    monkeypatch.setattr(fal_client, "RUN_URL_FORMAT", f"https://localhost:{server_with_tls.port}/run/")
    monkeypatch.setattr(fal_client, "MAX_ATTEMPTS", 1)
    with pytest.raises(fal_client.httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        fal_client.SyncClient(key=wire.KEY).run("fal-ai/any-llm", {"prompt": "x"})


@feature("way.names")
def test_fals_own_names_lead_here(client, fals_names):
    result = outcome(client, fals_names.command, SSL_CERT_FILE=str(fals_names.trusted))
    check(result, "https://queue.fal.run/fal-ai/any-llm/")
