"""The ways that lead fal's Python client here by its surroundings alone: environment, names. Both need TLS."""

import json
import os
import pathlib
import random
import subprocess
import sys
from types import SimpleNamespace

import fal_client.client as fal_client
import pytest
import wire

APPLICATION = pathlib.Path(__file__).with_name("application.py")
feature = pytest.mark.feature
NAMES = ["fal.run", "queue.fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "v3.fal.media"]
KINDS = {"sync": "fal-client", "async": "fal-client-async"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return wire.Authority(tmp_path_factory.mktemp("tls"), ["localhost", *NAMES])


@pytest.fixture(scope="module")
def config(mock):
    return mock.config(ok="/ok", silent="/silent", extra="keys: [{ id: kid, secret: ksecret, owner: team }]")


@pytest.fixture(scope="module")
def server(config, authority):
    server = wire.Server(config, "--listen-tls", "127.0.0.1:0", *authority.flags)
    server.port = server.line(r"listening on https://127.0.0.1:(\d+)")
    yield server
    server.stop()


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
def test_environment_leads_here(client, server, authority):
    at = f"localhost:{server.port}"
    environment = {"FAL_RUN_HOST": f"{at}/run", "FAL_QUEUE_RUN_HOST": f"{at}/queue"}
    check(outcome(client, SSL_CERT_FILE=str(authority.file), **environment), f"https://{at}/queue/fal-ai/any-llm/")


def test_a_certificate_nobody_vouches_for_is_refused(server, monkeypatch):
    monkeypatch.setattr(fal_client, "RUN_URL_FORMAT", f"https://localhost:{server.port}/run/")
    monkeypatch.setattr(fal_client, "MAX_ATTEMPTS", 1)
    with pytest.raises(fal_client.httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        fal_client.SyncClient(key=wire.KEY).run("fal-ai/any-llm", {"prompt": "x"})


@pytest.fixture(scope="module")
def under_fals_names(config, authority, tmp_path_factory):
    """The start of a command that sees a hosts file of its own, with fal's names in it; a loopback address of our
    own, so that nobody else's port 443 is in the way."""
    address = f"127.{random.randrange(64, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    hosts = tmp_path_factory.mktemp("names") / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {' '.join(NAMES)}\n")
    mount = ["unshare", "-m", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
    command = [*mount, hosts]
    if os.geteuid() != 0 or subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("a hosts file of its own and port 443 need root and mount namespaces")
    server = wire.Server(config, "--listen-tls", f"{address}:443", *authority.flags)
    yield command
    server.stop()


@feature("way.names")
def test_fals_own_names_lead_here(client, under_fals_names, authority):
    result = outcome(client, under_fals_names, SSL_CERT_FILE=str(authority.file))
    check(result, "https://queue.fal.run/fal-ai/any-llm/")
