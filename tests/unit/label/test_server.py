import http.client
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from compress.label.server import LabelServer


@pytest.fixture
def serve():
    """A running server for a queue, and a function that asks it something."""
    running = []

    def start(queue):
        server = LabelServer(queue)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))

        def ask(path, *, method="GET", body=None, token=server.token, **headers):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request(method, f"/{token}/{path}", body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            found = answer.status, dict(answer.getheaders()), answer.read()
            connection.close()
            return found

        return server, ask

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_and_its_parts_are_served_and_may_load_nothing_else(make, serve):
    queue, _ = make()
    _, ask = serve(queue)
    for path, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        status, headers, body = ask(path)
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert (headers["Referrer-Policy"], headers["X-Content-Type-Options"]) == ("same-origin", "nosniff")
        assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")


def test_state_and_pictures_are_those_of_the_queue(make, serve):
    queue, raw = make()
    _, ask = serve(queue)

    state = json.loads(ask("state")[2])

    assert state["labels"] == list(queue.labels)
    assert [i["id"] for i in state["items"]] == list(queue.items)
    status, headers, body = ask(f"view/{state['items'][0]['id']}")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    with Image.open(io.BytesIO(body)) as image:
        assert any(np.array_equal(np.asarray(image), r) for r in raw)


def test_windows_are_given_as_readings(make, serve):
    queue, raw = make("window")
    _, ask = serve(queue)

    columns = json.loads(ask(f"view/{next(iter(queue.items))}")[2])

    assert any(np.allclose(np.array(columns).T, r, atol=1e-5) for r in raw)


def test_a_label_is_on_the_disk_when_the_page_is_told_so(make, serve):
    queue, _ = make()
    server, ask = serve(queue)
    id = next(iter(queue.items))

    status, _, _ = ask("label", method="POST", body=json.dumps({"id": id, "label": "=two"}), X_CSRF_Token=server.csrf)

    assert status == 200
    assert queue.decisions() == {id: "=two"}
    assert json.loads(ask("state")[2])["items"][0]["label"] == "=two"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token": "guess"}, 404),
        ({"token": ""}, 404),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"X_CSRF_Token": "guess"}, 403),
        ({"X_CSRF_Token": ""}, 403),
        ({"body": "{"}, 400),
        ({"body": '{"id": 5, "label": "zero"}'}, 400),
        ({"body": "[" * 9000}, 400),
        ({"body": "x" * 20_000}, 400),
        ({"body": '{"id": "nobody", "label": "zero"}'}, 422),
        ({"path": "other"}, 404),
    ],
)
def test_what_may_not_write_does_not(make, serve, change, status):
    queue, _ = make()
    server, ask = serve(queue)
    body = json.dumps({"id": next(iter(queue.items)), "label": "zero"})
    request = {"path": "label", "method": "POST", "body": body, "X_CSRF_Token": server.csrf, **change}

    assert ask(request.pop("path"), **request)[0] == status
    assert queue.decisions() == {}


@pytest.mark.parametrize(
    "path",
    ["view/../queue.json", "../queue.json", "view/%2e%2e", "view//etc/passwd", "media/x.png", "server.py", "page.html"],
)
def test_nothing_but_the_page_and_the_items_is_served(make, serve, path):
    queue, _ = make()
    _, ask = serve(queue)

    assert ask(path)[0] == 404


def test_a_damaged_picture_is_an_answer_and_not_the_end(make, serve):
    queue, _ = make()
    _, ask = serve(queue)
    id = next(iter(queue.items))
    (queue.folder / queue.items[id].view).unlink()

    status, _, body = ask(f"view/{id}")

    assert status == 422
    assert "missing" in json.loads(body)["error"]
    assert ask("state")[0] == 200


def test_the_server_listens_on_loopback_alone(make, serve):
    queue, _ = make()
    server, _ = serve(queue)

    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32
