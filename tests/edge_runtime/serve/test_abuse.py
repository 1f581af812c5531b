"""Small requests that are to cost the server a lot: none may hold a connection, the event loop or memory."""

import contextlib
import json
import signal
import socket
import time

import numpy as np
import pytest

from tests.edge_runtime.engines_here import FORM
from tests.edge_runtime.serve.test_wire import IMAGE, npy, predict

NPY = {"content-type": "application/x-npy"}
GOOD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


def npy_of(shape, dtype="|u1", body=b""):
    """A .npy file whose header says so, whatever follows."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def held_s(server, first, drip, *, most_s):
    """How long a connection stays open for a client that says `first` and then a byte or two now and then."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=most_s) as sock:
        sock.sendall(first)
        sock.settimeout(0.1)
        while time.monotonic() - start < most_s:
            try:
                if not sock.recv(65536):
                    break
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(drip)
            except ConnectionError:
                break
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (HEALTH + b"\r\n", b"\r\n"),  # an answer, then empty lines: no request has begun, and none has ended
        (HEALTH + b"Content-Length: 5000\r\n\r\n", b"x"),  # a body that nobody waits for
        (GOOD + b"Transfer-Encoding: chunked\r\nHost: elsewhere\r\n\r\n", b"1\r\nx\r\n"),  # refused, and goes on
        (b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", b" "),  # FastAPI waits for it
    ],
    ids=["empty lines", "body after the answer", "body after a refusal", "slow body elsewhere"],
)
def test_a_client_that_drips_is_cut_off(bundle, running, first, drip):
    server = running(bundle, "--request-timeout", 0.3)

    assert held_s(server, first, drip, most_s=6) < 5
    assert predict(server)[0] == 200


@pytest.mark.parametrize(
    "endless",
    [
        HEALTH + b"X: ",
        b"GET /",
        GOOD + b"Transfer-Encoding: chunked\r\n\r\n1;ext=",
        GOOD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["header", "url", "chunk extension", "trailer"],
)
def test_what_the_parser_swallows_without_end_is_cut_off(bundle, running, endless):
    server = running(bundle, "--request-timeout", 20)
    sent = 0
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with connection as sock, contextlib.suppress(ConnectionError):
        sock.sendall(endless)
        while sent < 64 << 20:
            sent += sock.send(b"x" * 65536)

    assert sent < 16 << 20  # the kernel's buffers, and no more
    assert predict(server)[0] == 200


def test_a_client_that_leaves_a_little_unread_is_cut_off_too(bundle):
    """Less than what asyncio calls much: it fits no kernel buffer, and no pause is asked for."""
    import threading

    import edge_runtime
    import uvicorn
    from edge_runtime.serve.app import App
    from edge_runtime.serve.connection import limited
    from edge_runtime.serve.service import OneBundle
    from edge_runtime.serve.settings import Settings

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # of the connections that it makes, too
    app = App(OneBundle(edge_runtime.load(bundle, engine=FORM)), Settings())
    config = uvicorn.Config(app, http=limited(0.5, 0.5, 10), ws="none", log_config=None, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(listening.getsockname())
            batch = npy(np.zeros((400, 4, 5), np.uint8))
            head = GOOD.replace(b"predict", b"predict_batch") + b"Content-Length: %d\r\n\r\n" % len(batch)
            sock.sendall(head + batch)
            deadline = time.monotonic() + 6
            time.sleep(0.3)
            assert len(server.server_state.connections) == 1
            while server.server_state.connections and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not server.server_state.connections
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


def test_a_tiny_npy_that_claims_a_billion_empty_rows_is_refused_at_once(client):
    served = client()
    for path in ("/v1/predict", "/v1/predict_batch"):
        for shape in ("(1000000000, 0)", "(" + "9" * 60 + ", 0)", "(5000, 0)"):
            start = time.monotonic()
            answer = served.post(path, content=npy_of(shape), headers=NPY)
            assert answer.status_code in (400, 422), (shape, answer.text)
            assert time.monotonic() - start < 1


def test_a_batch_of_too_many_rows_is_refused_before_they_become_objects(client):
    import tracemalloc

    served = client(max_body_bytes=8 << 20)
    body = npy_of("(4000000,)", body=bytes(4_000_000))
    tracemalloc.start()
    answer = served.post("/v1/predict_batch", content=body, headers=NPY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert answer.status_code == 422
    assert "4000000 examples" in answer.json()["detail"]
    assert peak < 60e6


@pytest.mark.parametrize("key", ["input", "inputs"])
def test_strings_among_numbers_do_not_become_a_wide_array(client, key):
    import tracemalloc

    served = client()
    rows = ["a" * 100_000] + [""] * 1000  # as an array of one width: 400 MB
    tracemalloc.start()
    path = "/v1/predict" if key == "input" else "/v1/predict_batch"
    answer = served.post(path, json={key: rows if key == "input" else [rows]})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert answer.status_code == 422
    assert "not a number" in answer.json()["detail"]
    assert peak < 60e6


def test_a_page_from_elsewhere_cannot_post_to_a_local_server(client):
    served = client()
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 200)):
        answer = served.post("/v1/predict", content=IMAGE, headers={**NPY, "origin": origin})
        assert answer.status_code == status, origin
    answer = served.post("/v1/versions/switch", content=b'{"version": "x-0123456789ab"}',
                         headers={"origin": "https://evil.example"})  # fmt: skip
    assert answer.status_code == 403
    assert "evil.example" in answer.json()["detail"]


def test_an_error_that_nobody_foresaw_is_a_problem_too(client, monkeypatch):
    served = client()

    def broken(_):
        raise MemoryError("no room")

    monkeypatch.setattr(served.app_.model, "answer", broken)
    answer = served.post("/v1/predict", content=IMAGE, headers=NPY)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.content)["fix"]


def test_a_signal_right_after_the_banner_is_not_lost(bundle, running):
    """A service manager that stops what it has just started would wait a minute and a half, and then kill."""
    server = running(bundle)
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(timeout=15) == 0
