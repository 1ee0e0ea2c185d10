"""What the Python tests stand on: the mock upstream, the server, a proxy that keeps what passes, certificates."""

import asyncio
import atexit
import contextlib
import inspect
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get("TEST_BUILD", ROOT / "build"))
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "anyllm"
MODEL = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
KEY = "kid:ksecret"


def have_engine():
    engines = [CACHE / "engine/llama-server", CACHE / "engine-src/llama-server"]
    return MODEL.exists() and bool(
        os.environ.get("ANYLLM_ENGINE") or any(e.exists() for e in engines) or shutil.which("llama-server")
    )


class Child:
    """A process that writes into a file; `line` waits for what it says."""

    def __init__(self, *command, env=None):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="anyllm-test-")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env)
        atexit.register(self.process.kill)

    def text(self):
        return pathlib.Path(self.log.name).read_text()

    def line(self, pattern, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(pattern, self.text())
            if found:
                return found[1]
            time.sleep(0.01)
        raise RuntimeError(f"no {pattern}:\n{self.text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Mock(Child):
    def __init__(self):
        super().__init__(BUILD / "test/mock/mockllm", "--port", "0", "--die-with-parent")
        self.url = "http://127.0.0.1:" + self.line(r"listening on (\d+)")

    def stats(self):
        return json.load(urllib.request.urlopen(f"{self.url}/_stats"))

    def calls(self, prompt):
        return self.stats()["calls_by_prompt"].get(prompt, 0)

    def config(self, extra="", **upstreams):
        """An upstream for each NAME=PATH of the mock or whole address, or NAME=(that, "more: of it"). The model
        test/NAME goes to it, every other model to the first."""
        lines = ["upstreams:"]
        for name, at in upstreams.items():
            at, more = (at, "") if isinstance(at, str) else (at[0], ", " + at[1])
            url = at if "://" in at else self.url + at
            lines.append(f'  {name}: {{ kind: openai, base_url: "{url}/v1"{more} }}')
        lines.append("routes:")
        lines += [f'  - {{ model: "test/{name}", to: [{name}] }}' for name in upstreams]
        return "\n".join([*lines, f'  - {{ model: "*", to: [{next(iter(upstreams))}] }}', extra, ""])


class Server(Child):
    """anyllm with this configuration, in a folder of its own."""

    def __init__(self, config, *args):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="anyllm-test-"))
        self.args = args
        file = self.folder / "anyllm.yaml"
        file.touch(0o600)
        file.write_text(config)
        self.start("127.0.0.1:0")

    def start(self, listen):
        file, data = self.folder / "anyllm.yaml", self.folder / "data"
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "ANYLLM_ENGINE")}
        super().__init__(
            *[BUILD / "anyllm", "serve", "--config", file, "--data", data, "--listen", listen, "--grace", "1", *self.args],
            env=kept | {"HOME": str(self.folder), "XDG_CACHE_HOME": str(CACHE.parent)},
        )
        self.base = self.line(r"listening on (http:\S+)")

    def die_and_return(self):
        """Killed, and started again at the same address with the same data."""
        self.process.kill()
        self.process.wait()
        self.start(self.base.removeprefix("http://"))

    def ready(self, seconds=120):
        wait_until(lambda: self.call("GET", "/readyz")[0] == 200, seconds)
        return self

    def call(self, method, path, body=None, key=KEY):
        """A plain request, beside the clients; gives status and JSON."""
        headers = {"Authorization": f"Key {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self):
        super().stop()
        said = self.text()
        assert self.process.returncode == 0 and not re.search("Sanitizer|runtime error", said), said
        shutil.rmtree(self.folder)


class Authority:
    """The authority and the certificate that docs/migrate.md tells people to make, for these names."""

    def __init__(self, folder, names=None):
        commands = re.search(r"```sh certificate\n(.*?)```", (ROOT / "docs/migrate.md").read_text(), re.S)[1]
        if names:
            commands = re.sub("names=.*", f"names={','.join(names)}", commands)
        subprocess.run(["sh", "-eu", "-c", commands], cwd=folder, check=True, capture_output=True)
        self.file = folder / "ca.pem"
        self.flags = ["--tls-cert", folder / "cert.pem", "--tls-key", folder / "cert.key"]


class Seen:
    """One request as it passed, and the head of its answer (status None: nobody answered)."""

    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        self.headers = fields(lines[1:])
        self.body = body
        self.status = None
        self.answer = {}

    def answered(self, data):
        lines = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.answer = fields(lines[1:])


def fields(lines):
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


LOST = "lost"


class Tap:
    """A reverse proxy before a server. It keeps every request; `plan` may give an answer in the server's place
    (bytes; b"" closes the connection unanswered), or LOST: the server is asked, its answer thrown away."""

    def __init__(self, target):
        self.to = target.removeprefix("http://").split(":")
        self.seen = []
        self.plan = None
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError):
            head, body = read_request(client)
            seen = Seen(head, body)
            self.seen.append(seen)
            planned = self.plan(seen) if self.plan else None
            if planned in (None, LOST):
                self.relay(client, head, body, seen, lost=planned is LOST)
            elif planned:
                seen.answered(planned)
                client.sendall(planned)

    def relay(self, client, head, body, seen, lost):
        """One exchange for one connection, so that the end of it is the end of the answer."""
        head = re.sub(rb"\r\nconnection: [^\r]*", b"", head, flags=re.I)
        with socket.create_connection(self.to) as server:
            server.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if client in ready and not client.recv(1, socket.MSG_PEEK):
                    return  # the caller left; so does this
                data = server.recv(65536)
                if not data or lost:
                    return
                if seen.status is None:
                    seen.answered(data)
                client.sendall(data)

    def arrived(self, pattern="."):
        return [s for s in self.seen if re.search(pattern, f"{s.method} {s.target}")]


def read_request(client):
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            raise ConnectionError
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = re.search(rb"content-length: *(\d+)", head, re.I)
    while length and len(body) < int(length[1]):
        body += client.recv(65536)
    return head, body


def answer(status, body, content_type="application/json", **headers):
    """The bytes of a whole answer."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


# --- a client of coroutines, used as if it were the blocking one, so that one table drives both

LOOP = asyncio.new_event_loop()


class Waits:
    def __init__(self, target):
        self.target = target

    def __getattr__(self, name):
        value = getattr(self.target, name)
        if callable(value):
            return lambda *args, **kwargs: settle(value(*args, **kwargs))
        return settle(value)

    def __iter__(self):
        return steps(aiter(self.target))


def settle(value):
    if inspect.isasyncgen(value):
        return steps(value)
    if inspect.isawaitable(value):
        return settle(LOOP.run_until_complete(value))
    return Waits(value) if type(value).__name__.startswith("Async") else value


def steps(generator):
    try:
        while True:
            yield LOOP.run_until_complete(anext(generator))
    except StopAsyncIteration:
        return
    finally:
        if hasattr(generator, "aclose"):
            LOOP.run_until_complete(generator.aclose())


def hurried(monkeypatch, module, coroutine_module):
    """A client's waits (MODULE's time.sleep and the other's sleep), kept instead of waited for."""
    waits = []

    def blocking(seconds):
        waits.append(seconds)
        time.sleep(min(seconds, 0.01))

    async def coroutine(seconds):
        waits.append(seconds)
        await asyncio.sleep(min(seconds, 0.01))

    def replace(name, sleep):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, SimpleNamespace(**vars(real) | {"sleep": sleep}))

    replace("time", blocking)
    replace(coroutine_module, coroutine)
    return waits


def left(call, seconds=0.3):
    """Cancels a coroutine after a while, as an application that leaves does."""
    with contextlib.suppress(asyncio.TimeoutError):
        LOOP.run_until_complete(asyncio.wait_for(call, seconds))
        raise AssertionError("it ended by itself")


def wait_until(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not come about in time"
        time.sleep(0.01)
