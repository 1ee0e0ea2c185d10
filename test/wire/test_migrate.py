"""docs/migrate.md as it stands: each example is run with its setting against a server, and without it under fal's own
names, which lead to a server too.

An example is a block marked "run"; the block marked "setting" before it in its section is its setting. What stands
behind "run" is "page" (the client believes to be in a browser), or the name under which the test has the package."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import wire

PAGE = (wire.ROOT / "docs/migrate.md").read_text()
BLOCKS = re.compile(r"^## (.*)$|^```(\w+) (setting|run)(.*)\n((?:.*\n)*?)```$", re.M)
IN_A_PAGE = "globalThis.window = { document: {} };\n"


def examples():
    heading, setting = "", ""
    for title, language, mark, words, text in BLOCKS.findall(PAGE):
        if title:
            heading, setting = title, ""
        elif mark == "setting":
            setting = text
        else:
            yield SimpleNamespace(heading=heading, language=language, words=words.strip(), setting=setting, text=text)


EXAMPLES = [pytest.param(e, id=f"{e.heading}, {e.language}") for e in examples()]
BACK = [e for e in EXAMPLES if e.values[0].setting]


@pytest.fixture(scope="module")
def node():
    setup = subprocess.run([wire.ROOT / "scripts/wire-setup.sh", "node"], capture_output=True, text=True)
    return setup.stdout.strip() or pytest.skip("the JavaScript clients could not be fetched")


def interpreter(example, node, text):
    if example.language == "js":
        if example.words == "page":
            text = IN_A_PAGE + text
        elif example.words:
            text = re.sub(r'"@fal-ai/[^"]*"', f'"{example.words}"', text)
        return [node, "--input-type=module", "-e", text]
    return {"python": [sys.executable, "-B", "-c", text], "sh": ["sh", "-euc", text]}[example.language]


def outcome(command, setting, trusted, key=wire.KEY):
    clean = {k: v for k, v in os.environ.items() if not re.match("FAL_|OPENAI_|ANYLLM_", k)}
    trust = dict.fromkeys(["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"], str(trusted))
    ran = subprocess.run(
        ["sh", "-euc", setting + '\nexec "$@"', "sh", *command],
        cwd=wire.ROOT / "test/wire",
        env=clean | trust | ({"FAL_KEY": key} if key else {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def answers(text):
    return text.count("The meaning of life is a question")


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_calls_this_server(example, node, server_with_tls, nobodys_names):
    server = server_with_tls

    def here(text):
        text = text.replace("http://127.0.0.1:8787", server.base)
        return text.replace("llm.example.org", f"localhost:{server.port}")

    command = [*nobodys_names, *interpreter(example, node, here(example.text))]
    key = None if example.words == "page" else wire.KEY
    assert answers(outcome(command, here(example.setting), server.trusted, key)) >= 1


@pytest.mark.parametrize("example", BACK)
def test_example_without_its_setting_calls_fal(example, node, fals_names):
    command = [*fals_names.command, *interpreter(example, node, example.text)]
    assert answers(outcome(command, "", fals_names.trusted)) >= 1


def test_page_has_an_example_for_each_kind_of_client():
    """So that a mark that is misspelt does not pass for an example that passed."""
    assert [e.id for e in EXAMPLES] == [
        "@fal-ai/client, 1.10 and later, js",
        "@fal-ai/client, before 1.10, js",
        "@fal-ai/serverless-client, js",
        "In a page, js",
        "Python, python",
        "Python, python",
        "Python, without TLS, python",
        "OpenAI's clients, python",
        "OpenAI's clients, js",
        "curl, sh",
    ]
    assert len(BACK) == 9


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_links_lead_somewhere():
    for file, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", PAGE):
        page = (wire.ROOT / "docs" / file).read_text() if file else PAGE
        assert not anchor or anchor in anchors(page), f"{file}#{anchor}"
