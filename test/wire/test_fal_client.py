"""fal's official Python client, its files untouched, against the real server with the mock upstream."""

import atexit
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

try:
    import fal_client.client as fal
except ImportError:
    fal = None

BUILD = pathlib.Path(os.environ.get("TEST_BUILD", pathlib.Path(__file__).parents[2] / "build"))
APP = "fal-ai/any-llm"


def start(pattern, *command):
    """Runs a command, its output into a file, until a line of it fits; gives the process and what was found."""
    log = tempfile.NamedTemporaryFile("w+", prefix="anyllm-test-")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    atexit.register(process.kill)
    for _ in range(600):
        found = re.search(pattern, pathlib.Path(log.name).read_text())
        if found:
            return process, found[1]
        time.sleep(0.05)
    raise RuntimeError(pathlib.Path(log.name).read_text())


@unittest.skipIf(fal is None, "fal's Python client is not installed")
class FalClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="anyllm-test-")
        cls.mock, port = start(r"listening on (\d+)", BUILD / "test/mock/mockllm", "--port", "0", "--die-with-parent")
        config = pathlib.Path(cls.folder) / "anyllm.yaml"
        config.write_text(
            f"""upstreams:
  ok: {{ kind: openai, base_url: "http://127.0.0.1:{port}/ok/v1" }}
  late: {{ kind: openai, base_url: "http://127.0.0.1:{port}/delay/800/v1" }}
  silent: {{ kind: openai, base_url: "http://127.0.0.1:{port}/silent/v1" }}
routes:
  - {{ model: test/late, to: [late] }}
  - {{ model: test/silent, to: [silent] }}
  - {{ model: "*", to: [ok] }}
"""
        )
        cls.server, base = start(
            r"listening on (http:\S+)",
            BUILD / "anyllm", "serve", "--config", config, "--listen", "127.0.0.1:0", "--data", f"{cls.folder}/data",
        )
        fal.RUN_URL_FORMAT = f"{base}/run/"
        fal.QUEUE_URL_FORMAT = f"{base}/queue/"
        cls.client = fal.SyncClient(key="kid:ksecret")

    @classmethod
    def tearDownClass(cls):
        for process in (cls.server, cls.mock):
            process.terminate()
            process.wait()
        shutil.rmtree(cls.folder)

    def test_run_answers(self):
        self.assertIn("nonce:py1", self.client.run(APP, {"prompt": "nonce:py1"})["output"])

    def test_subscribe_shows_progress_with_log_lines(self):
        seen = []
        arguments = {"prompt": "nonce:py2", "model": "test/late"}
        result = self.client.subscribe(APP, arguments, with_logs=True, on_queue_update=seen.append)
        self.assertIn("nonce:py2", result["output"])
        self.assertTrue(any(isinstance(s, fal.InProgress) and s.logs for s in seen))
        self.assertIsInstance(seen[-1], fal.Completed)

    def test_stream_grows_and_ends_whole(self):
        events = list(self.client.stream(APP, {"prompt": "nonce:py3"}))
        self.assertGreater(len(events), 2)
        self.assertFalse(events[-1]["partial"])
        self.assertIn("nonce:py3", events[-1]["output"])

    def test_errors_carry_status_and_fields(self):
        with self.assertRaises(fal.FalClientHTTPError) as caught:
            self.client.run(APP, {})
        self.assertEqual(caught.exception.status_code, 422)
        self.assertEqual(caught.exception.response.json()["detail"][0]["loc"], ["body", "prompt"])

    def test_cancel_ends_a_running_request(self):
        handle = self.client.submit(APP, {"prompt": "x", "model": "test/silent"})
        handle.cancel()
        with self.assertRaises(fal.FalClientHTTPError) as caught:
            handle.get()
        self.assertEqual((caught.exception.status_code, caught.exception.error_type), (499, "client_cancelled"))


if __name__ == "__main__":
    unittest.main()
