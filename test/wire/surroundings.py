"""Where an application runs: fal's own names lead it to a server of ours, or nowhere."""

import os
import random
import subprocess
from types import SimpleNamespace

import pytest
import wire

NAMES = "fal.run queue.fal.run rest.fal.ai rest.alpha.fal.ai v3.fal.media falrun.com queue.falrun.com".split()
AS_ROOT = os.geteuid() == 0
USER = [] if AS_ROOT else ["-r"]
MOUNT = ["unshare", *USER, "-m", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']


def free_address():
    """A loopback address of our own, so that nobody else's port 443 is in the way."""
    return f"127.{random.randrange(64, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


def names_lead_to(address, folder):
    """The start of a command that sees a hosts file of its own. Skips the test where that is not allowed."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {' '.join(NAMES)}\n")
    command = [*MOUNT, hosts]
    if subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("a hosts file of its own needs mount namespaces")
    return command


@pytest.fixture(scope="session")
def surroundings_config(mock):
    extra = "keys: [{ id: kid, secret: ksecret, owner: team }]\nproxy: { key: kid }"
    return mock.config(ok="/ok", silent="/silent", extra=extra)


@pytest.fixture(scope="session")
def server_with_tls(surroundings_config, tmp_path_factory):
    """At https://localhost:PORT, for those who trust the file `trusted`."""
    authority = wire.Authority(tmp_path_factory.mktemp("tls"), ["DNS:localhost", "IP:127.0.0.1"])
    server = wire.Server(surroundings_config, "--listen-tls", "127.0.0.1:0", *authority.flags)
    server.trusted = authority.file
    server.port = server.line(r"listening on https://127.0.0.1:(\d+)")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fals_names(surroundings_config, tmp_path_factory):
    """fal's names lead to a server, for those who trust the file `trusted`."""
    if not AS_ROOT:
        pytest.skip("port 443 needs root")
    address = free_address()
    command = names_lead_to(address, tmp_path_factory.mktemp("names"))
    authority = wire.Authority(tmp_path_factory.mktemp("tls"))
    server = wire.Server(surroundings_config, "--listen-tls", f"{address}:443", *authority.flags)
    yield SimpleNamespace(command=command, trusted=authority.file)
    server.stop()


@pytest.fixture(scope="session")
def nobodys_names(tmp_path_factory):
    """fal's names lead to where nobody listens: what misses its setting calls nobody."""
    return names_lead_to(free_address(), tmp_path_factory.mktemp("names"))
