"""Versions of the tiny bundle: good ones that differ in their weights, and ones that are bad in a way of their own."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from edge_runtime.store import Store

from tests.edge_runtime.engines_here import FORM
from tests.edge_runtime.nan_for_white import nan_for_white


@pytest.fixture
def bundles(make_bundle, form_model):
    """Maker of bundle folders by name.

    v1, v2, v3: good, and their answers differ. wrong: fails its self-test. nan: passes it, but a white image, which is
    not among the reference inputs, gives NaN.
    """

    def make(name):
        if name == "wrong":
            return make_bundle(FORM, name=name, logits=np.zeros((8, 3), np.float32))
        if name == "nan":
            return make_bundle(FORM, name=name, content={FORM: nan_for_white()})
        bias = {"v1": [0.5, -0.25, 0.125], "v2": [90, 0, 0], "v3": [0, 90, 0]}[name]
        return make_biased(make_bundle, form_model, name, bias)

    return make


def make_biased(make_bundle, form_model, name, bias):
    import edge_runtime

    content = {FORM: form_model(bias=np.float32(bias))}
    folder = make_bundle(FORM, name=f"{name}.draft", content=content, tolerance=1e9, agreement=0.0)
    with edge_runtime.load(folder) as model:
        logits = model.logits(model.reference()[0])
    return make_bundle(FORM, name=name, content=content, logits=logits)


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store")


class Site:
    """A web server for folders, with faults: `drop_after` cuts an answer short once, `ranges` False ignores Range."""

    def __init__(self, root):
        self.root, self.requests = root, []
        self.drop_after = self.status = self.redirect = None
        self.ranges, self.extra = True, b""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, request):
        self.requests.append((request.path, dict(request.headers)))
        path = self.root / request.path.lstrip("/")
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        if self.status or not path.is_file():
            request.send_error(self.status or 404)
            return
        data, start = path.read_bytes() + self.extra, 0
        wanted = request.headers.get("Range")
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        if self.drop_after is not None and path.name == "reference.npz":
            request.wfile.write(data[start : start + self.drop_after])
            self.drop_after = None
            request.close_connection = True
            return
        request.wfile.write(data[start:])


def served(root):
    site = Site(root)
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def site(tmp_path):
    yield from served(tmp_path)


@pytest.fixture
def other_site(tmp_path):
    yield from served(tmp_path)
