"""Counts for scripts/run-tests.sh, and the cells of docs/compatibility.md.

A test marked @pytest.mark.feature("run") and given a client (a fixture whose `cell_id` is one of features.json) writes that
client's cell of that row, once every such test has passed: "yes", or the cell= of the mark."""

import json
import os

import pytest
import wire
from fal_python import deaf, fal, fal_server, hurry, kind, narrow, narrow_server  # noqa: F401
from surroundings import fals_names, nobodys_names, server_with_tls, surroundings_config  # noqa: F401

cells = {}


def pytest_configure(config):
    config.addinivalue_line("markers", "feature(name, ...): the cells of docs/compatibility.md that it proves")


def pytest_collection_modifyitems(items):
    """Only tests whose names contain TEST_NAMED, whatever characters are in it (-k takes expressions)."""
    items[:] = [item for item in items if os.environ.get("TEST_NAMED", "") in item.name]


def client_of(item):
    for value in item.funcargs.values():
        if isinstance(getattr(value, "cell_id", None), str):
            return value.cell_id
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    client = client_of(item) if hasattr(item, "funcargs") else None
    for mark in item.iter_markers("feature"):
        for name in mark.args:
            cells.setdefault((client, name, mark.kwargs.get("cell", "yes")), []).append(report)
    return report


def pytest_runtest_logreport(report):
    results = os.environ.get("TEST_PYTHON_RESULTS")
    if not results or (report.passed and report.when != "call"):
        return
    why = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else ""
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = " ".join(str(crash or report.longrepr).split())[:400]
    name = report.nodeid.removesuffix("\n").replace("\t", " ").encode("unicode_escape").decode()
    with open(results, "a") as f:
        f.write(f"{report.outcome}\tpython\t{name}\t{why}\n")


def pytest_sessionfinish(session):
    path = os.environ.get("COMPATIBILITY_CELLS")
    if not path:
        return
    with open(path, "a") as f:
        for (client, feature, cell), reports in cells.items():
            if client and all(r.passed for r in reports):
                f.write(json.dumps({"client": client, "feature": feature, "cell": cell}) + "\n")


@pytest.fixture(scope="session")
def mock():
    mock = wire.Mock()
    yield mock
    mock.stop()
