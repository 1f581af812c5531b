"""A server in this process for what is about answers, and one in a process of its own for what is about sockets."""

import contextlib
import http.client
import re
import subprocess
import sys

import edge_runtime
import pytest
from edge_runtime.serve.app import App
from edge_runtime.serve.service import OneBundle
from edge_runtime.serve.settings import Settings
from edge_runtime.store import Limits, Store
from starlette.testclient import TestClient

from tests.edge_runtime.engines_here import FORM


@pytest.fixture
def client(bundle):
    """TestClient of a server of the tiny bundle; call with settings."""
    with contextlib.ExitStack() as stack:

        def start(folder=bundle, monitor=None, **settings):
            model = OneBundle(edge_runtime.load(folder, engine=FORM, monitor=monitor))
            app = App(model, Settings(**settings), monitor=monitor)
            made = stack.enter_context(TestClient(app, base_url="http://localhost", raise_server_exceptions=False))
            made.app_ = app
            return made

        yield start


@pytest.fixture
def store(tmp_path, make_bundle, monkeypatch):
    """A store with two versions, the second one current."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")  # self-tests in this process: quicker
    store = Store.create(tmp_path / "store")
    for name, tolerance in (("one", 0.2), ("two", 0.3)):
        store.update(make_bundle(FORM, name=name, tolerance=tolerance), limits=Limits(calls=0))
    monkeypatch.undo()
    return store


class Running:
    """`edge-runtime serve` in a process of its own."""

    def __init__(self, folder, *arguments, **environment):
        command = [sys.executable, "-m", "edge_runtime", "serve", str(folder), "--port", "0", *map(str, arguments)]
        import os

        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        self.banner = [self.process.stderr.readline()]
        port = re.search(r":(\d+)$", self.banner[0].strip())
        assert port, self.banner[0] + self.process.communicate(timeout=60)[1]  # it says why it did not start
        self.port = int(port.group(1))
        self.banner.append(self.process.stderr.readline())

    def connect(self, timeout=20):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, **headers):
        connection = self.connect()
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def running():
    """Maker of Running; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(folder, *arguments, **environment):
            made = Running(folder, *arguments, **environment)
            stack.callback(made.stop)
            return made

        yield start
