"""The server as a process on a socket: slow, silent, rude and too many clients; signals; a switch under load."""

import contextlib
import datetime
import http.client
import io
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from edge_runtime.store import Limits

from tests.edge_runtime.engines_here import FORM

NPY = {"content-type": "application/x-npy"}
TOKEN = "a-token-of-at-least-16-characters"


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


IMAGE = npy(np.zeros((4, 5), np.uint8))


def predict(server):
    return server.request("POST", "/v1/predict", IMAGE, content_type="application/x-npy")


def raw(server, data, *, until_closed=True):
    """What comes back for bytes on a socket."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(data)
        out = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while until_closed:
                got = sock.recv(65536)
                if not got:
                    break
                out += got
        return out


def test_rude_clients_are_refused_and_the_service_stays_up(bundle, running):
    server = running(bundle, "--request-timeout", 0.3, "--max-connections", 20)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\nContent-Length: 500\r\n"

    assert b" 408 " in raw(server, b"")  # connects and says nothing
    late = raw(server, head)  # never ends its headers
    assert b" 408 " in late
    assert b"the headers took too long" in late
    late = raw(server, head + b"\r\n" + b"half a body")
    assert b" 408 " in late
    assert b"the body took too long" in late
    assert b"application/problem+json" in late
    assert b" 400 " in raw(server, b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert b" 400 " in raw(server, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    assert b" 413 " in raw(server, head.replace(b"500", b"999999999999") + b"\r\n")
    assert b" 400 " in raw(server, head.replace(b"500", b"9" * 30) + b"\r\n")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        time.sleep(0.1)
        assert b" 503 " in raw(server, b"")
        assert b"retry-after: 1" in raw(server, b"")
    time.sleep(0.5)

    assert predict(server)[0] == 200


def test_a_client_that_never_reads_is_cut_off(bundle, running):
    server = running(bundle, "--request-timeout", 0.5)
    body = npy(np.zeros((1000, 4, 5), np.uint8))
    request = b"POST /v1/predict_batch?top=3 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\n"
    request += b"Content-Length: %d\r\n\r\n" % len(body) + body

    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sock.sendall(request * 1000)
    assert predict(server)[0] == 200


def test_sigterm_answers_what_is_under_way(store, running):
    server = running(store.folder)
    connection = server.connect()
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", "application/x-npy")
    connection.putheader("Content-Length", str(len(IMAGE)))
    connection.endheaders(IMAGE[:50])
    time.sleep(0.2)

    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    connection.send(IMAGE[50:])

    assert connection.getresponse().status == 200
    assert server.process.wait(timeout=20) == 0
    assert server.process.stderr.read() == ""


def test_a_switch_under_load_drops_no_request(store, running):
    server = running(store.folder)
    one, two = store.state().recent
    stop, answers, faults = threading.Event(), [], []

    def load():
        connection = server.connect()
        try:
            while not stop.is_set():
                connection.request("POST", "/v1/predict", IMAGE, NPY)
                answer = connection.getresponse()
                answers.append((answer.status, json.loads(answer.read())["version"]))
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (one, two):
        before = len(answers)
        body = json.dumps({"version": version, "force": True})
        status, done = server.request("POST", "/v1/versions/switch", body, content_type="application/json")
        assert (status, json.loads(done)["version"]) == (200, version)
        while len(answers) < before + 50:
            time.sleep(0.01)
    store.rollback()  # by another process
    deadline = time.monotonic() + 20
    while json.loads(predict(server)[1])["version"] != one and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()

    assert faults == []
    assert {status for status, _ in answers} == {200}
    assert [v for i, (_, v) in enumerate(answers) if i == 0 or answers[i - 1][1] != v][:3] == [two, one, two]
    assert json.loads(predict(server)[1])["version"] == one


def test_what_cannot_be_switched_to_is_said(store, running, make_bundle):
    server = running(store.folder)
    bad = store.state().recent[0]
    (store.path(bad) / f"model.{FORM}").write_bytes(b"x")

    for version, status, what in ((bad, 409, f"model.{FORM}"), ("none", 404, "not installed"), ("../x", 404, "not")):
        body = json.dumps({"version": version})
        got, doc = server.request("POST", "/v1/versions/switch", body, content_type="application/json")
        assert (got, what in str(doc)) == (status, True), doc
    assert predict(server)[0] == 200


def test_a_full_queue_is_503_and_a_greedy_client_429(bundle, running):
    server = running(bundle, "--max-queue", 2, "--max-per-client", 3)
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\nContent-Length: %d\r\n\r\n"
    )

    with contextlib.ExitStack() as stack:
        for _ in range(3):  # three requests under way
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.sendall(head % len(IMAGE) + IMAGE[:10])
        time.sleep(0.2)
        connection = stack.enter_context(contextlib.closing(server.connect()))
        connection.request("POST", "/v1/predict", IMAGE, NPY)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert "too many requests at once" in json.loads(answer.read())["detail"]
    time.sleep(0.2)

    seen, many = [], npy(np.zeros((900, 4, 5), np.uint8))

    def load():
        seen.append(server.request("POST", "/v1/predict_batch", many, content_type="application/x-npy"))

    for _ in range(10):
        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if any(status == 503 for status, _ in seen):
            break
    full = [body for status, body in seen if status == 503]
    assert {status for status, _ in seen} == {200, 503}
    assert "examples wait already" in json.loads(full[0])["detail"]


def test_tls_and_a_token_from_the_environment(bundle, running, tmp_path):
    certificate, key = certificate_of_localhost(tmp_path)
    server = running(bundle, "--tls-cert", certificate, "--tls-key", key, EDGE_RUNTIME_TOKEN=TOKEN)
    assert server.banner[0].count("https://127.0.0.1:") == 1
    assert "a token is needed" in server.banner[1]
    context = ssl.create_default_context(cafile=str(certificate))

    for headers, status in ((NPY, 401), ({**NPY, "authorization": f"Bearer {TOKEN}"}, 200)):
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=20)
        connection.request("POST", "/v1/predict", IMAGE, headers)
        assert connection.getresponse().status == status
        connection.close()
    assert raw(server, b"GET /health HTTP/1.1\r\n\r\n")[:4] != b"HTTP"


def certificate_of_localhost(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(*plain))
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("--host", "0.0.0.0"),
            2,
            "can be reached from other machines, and no token is set\n  fix: set EDGE_RUNTIME_TOKEN",
        ),
        (("--host", "example.org"), 2, "can be reached from other machines"),
        (("--token-file", "none"), 2, "no token can be read"),
        (("--tls-cert", "none"), 2, "TLS needs a certificate and its key"),
        (("--tls-cert", "none", "--tls-key", "none"), 2, "no such file"),
        (("--max-queue", "0"), 2, "--max-queue: 0 is out of range"),
        (("--port", "99999"), 2, "--port: 99999 is out of range\n  fix: give a smaller number"),
        (("--request-timeout", "-1"), 2, "--request-timeout-s: -1.0 is out of range"),
        (("--host", "999.1.1.1", "--no-token"), 2, "cannot listen"),
    ],
)
def test_what_must_not_start_does_not(bundle, arguments, code, message):
    command = [sys.executable, "-m", "edge_runtime", "serve", str(bundle), "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_a_short_token_and_a_folder_that_is_nothing(bundle, tmp_path, monkeypatch, capsys):
    from edge_runtime.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", str(bundle), "--port", str(taken.getsockname()[1])]) == 2
        assert "cannot listen: Address already in use" in capsys.readouterr().err
    monkeypatch.setenv("EDGE_RUNTIME_TOKEN", "short")
    assert main(["serve", str(bundle)]) == 2
    err = capsys.readouterr().err
    assert "shorter than 16 characters" in err
    assert "short\n" not in err
    monkeypatch.delenv("EDGE_RUNTIME_TOKEN")
    assert main(["serve", str(tmp_path)]) == 1
    assert "manifest.json: the file is missing" in capsys.readouterr().err
    (tmp_path / "tokens").write_text("\n")
    assert main(["serve", str(bundle), "--token-file", str(tmp_path / "tokens")]) == 2
    assert "the file holds no token" in capsys.readouterr().err


def test_a_store_on_trial_rolls_back_behind_the_server(store, running, make_bundle, form_model, monkeypatch):
    slow = Limits(calls=1000, latency_ms=1e-6)
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    new = store.update(make_bundle(FORM, name="three", tolerance=0.4), limits=slow).version
    monkeypatch.undo()
    server = running(store.folder)

    versions = [json.loads(predict(server)[1])["version"] for _ in range(30)]

    assert versions[0] == new
    assert versions[-1] == store.state().current != new
    status, doc = server.request("GET", "/v1/versions")
    states = {v["version"]: v["state"] for v in json.loads(doc)["versions"]}
    assert (status, states[new]) == (200, "bad")
