"""What is answered to whom: every content type, every refusal with its what, where and fix."""

import base64
import io
import json

import edge_runtime
import numpy as np
import pytest
from edge_runtime.monitor import Monitor
from PIL import Image

from tests.edge_runtime.engines_here import FORM

IMAGE = np.arange(20, dtype=np.uint8).reshape(4, 5)
TOKEN = "a-token-of-at-least-16-characters"


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def png(array=IMAGE):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def post(client, body, type_="application/json", path="/v1/predict", **headers):
    content = json.dumps(body) if isinstance(body, dict) else body
    return client.post(path, content=content, headers={"content-type": type_, **headers})


def refused(answer, status, what, fix=""):
    doc = answer.json()
    assert answer.status_code == status, doc
    assert answer.headers["content-type"] == "application/problem+json"
    assert (doc["status"], doc["type"]) == (status, "about:blank")
    assert what in doc["detail"], doc
    assert doc["where"]
    assert fix in doc["fix"], doc
    assert doc["fix"]
    return doc


def test_every_way_to_send_one_image_gives_the_same_answer(client, bundle):
    client = client()
    expected = edge_runtime.load(bundle, engine=FORM).predict(IMAGE)

    answers = [
        post(client, {"input": IMAGE.tolist()}),
        post(client, {"input": {"image_base64": base64.b64encode(png()).decode()}}),
        post(client, npy(IMAGE), "application/x-npy"),
        post(client, png(), "image/png"),
        client.post("/v1/predict", files={"file": png()}),
        client.post("/v1/predict", files={"file": npy(IMAGE)}),
    ]

    for answer in answers:
        assert answer.status_code == 200, answer.text
        doc = answer.json()
        assert set(doc) == {"label", "index", "score", "latency_ms", "version"}
        assert (doc["label"], doc["score"]) == (expected.label, pytest.approx(expected.score, abs=1e-6))
        assert doc["version"].startswith("tiny-")


def test_every_way_to_send_several(client, bundle):
    client = client()
    images = np.stack([IMAGE, IMAGE * 7])
    expected = [p.label for p in edge_runtime.load(bundle, engine=FORM).predict_batch(images)]

    for answer in (
        post(client, {"inputs": images.tolist()}, path="/v1/predict_batch"),
        post(client, npy(images), "application/x-npy", path="/v1/predict_batch"),
        client.post("/v1/predict_batch", files=[("file", png(i)) for i in images]),
    ):
        assert [p["label"] for p in answer.json()["predictions"]] == expected


def test_the_best_labels_on_request(client):
    doc = post(client(), {"input": IMAGE.tolist()}, path="/v1/predict?top=9").json()

    assert sorted(t["label"] for t in doc["top"]) == ["cat", "dog", "owl"]
    scores = [t["score"] for t in doc["top"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == doc["score"]


@pytest.mark.parametrize(
    ("body", "type_", "status", "what", "fix"),
    [
        (b"{", "application/json", 400, "not valid JSON", "send UTF-8 JSON"),
        (b'{"input": NaN}', "application/json", 400, "NaN is no JSON number", ""),
        (b"[" * 100_000, "application/json", 400, "not valid JSON", ""),
        (b"[]", "application/json", 422, 'want an object with the one key "input", got list', "(height, width)"),
        (b'{"inputs": []}', "application/json", 422, "got 'inputs'", ""),
        (b'{"input": "photo.png"}', "application/json", 422, "got str, not a list of numbers", ""),
        (b'{"input": "/etc/passwd"}', "application/json", 422, "got str", ""),
        (b'{"input": [[1, 2], [3]]}', "application/json", 422, "rows of different lengths", ""),
        (b'{"input": [["a"]]}', "application/json", 422, "not a number", ""),
        (b'{"input": [[1e999]]}', "application/json", 422, "infinite", ""),
        (b'{"input": []}', "application/json", 422, "", ""),
        (b'{"input": [[' + b"9" * 5000 + b"]]}", "application/json", 400, "not valid JSON", ""),
        (b'{"input": [[' + b"9" * 100 + b"]]}", "application/json", 422, "not a number", "no larger than 64 bits"),
        (b'{"input": {"image_base64": "%%"}}', "application/json", 422, "not base64", ""),
        (b'{"input": {"image_base64": "AAAA"}}', "application/json", 422, "not a readable image", ""),
        (b"\xff\xfe", "application/json", 400, "not valid JSON", ""),
        (b"", "application/json", 400, "not valid JSON", ""),
        (b"no array", "application/x-npy", 400, "does not start as a .npy file", "numpy.save"),
        (npy(np.zeros((3, 4, 5, 6))), "application/x-npy", 422, "shape (3, 4, 5, 6)", ""),
        (b"\x89PNG\r\n", "image/png", 422, "not a readable image", ""),
        (b"text", "text/plain", 415, "content type 'text/plain'", "this model takes (height, width)"),
        (b"x", "application/xml", 415, "content type 'application/xml'", "application/json or application/x-npy"),
        (b"x", "", 415, "content type ''", ""),
        (b"x", "multipart/form-data", 400, "not a readable form", ""),
        (b"x", "multipart/form-data; boundary=b", 400, "not a readable form", ""),
        (b"--b\r\n", "multipart/form-data; boundary=b", 422, "0 examples", ""),
    ],
)
def test_bad_bodies_are_refused_in_words(client, body, type_, status, what, fix):
    refused(post(client(), body, type_), status, what, fix)


def test_forms_without_their_package_are_refused_in_its_name(client, monkeypatch):
    monkeypatch.setattr("starlette.formparsers.multipart", None)

    refused(client().post("/v1/predict", files={"file": png()}), 501, "python-multipart", "pip install")


def test_a_form_with_other_fields_or_two_files_is_refused(client):
    client = client()

    refused(client.post("/v1/predict", data={"x": "1"}, files={"file": png()}), 422, "field 'x' is no file")
    refused(client.post("/v1/predict", files=[("f", png())] * 2), 422, "2 examples", "one example")


def test_the_one_at_fault_in_a_batch_is_named(client):
    body = {"inputs": [IMAGE.tolist(), [[1, 2], [3]]]}

    assert refused(post(client(), body, path="/v1/predict_batch"), 422, "rows of different")["where"] == "inputs[1]"


@pytest.mark.parametrize(
    "query", ["top=0", "top=x", "top=", "top=99999", "bottom=1", "top=1&x=2", "top=1&top=2", "%ff"]
)
def test_queries_that_mean_nothing_are_refused(client, query):
    refused(post(client(), {"input": IMAGE.tolist()}, path=f"/v1/predict?{query}"), 422, "query", "top=K")


def test_a_picture_larger_than_memory_is_refused_by_its_header(client):
    huge = io.BytesIO()
    Image.new("1", (20_000, 1000)).save(huge, "PNG")

    refused(post(client(), huge.getvalue(), "image/png"), 422, "20000 x 1000 pixels; at most")


def test_a_body_over_the_limit_is_413_with_and_without_a_length(client):
    client = client(max_body_bytes=1000)

    for content in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
        answer = client.post("/v1/predict", content=content, headers={"content-type": "application/x-npy"})
        refused(answer, 413, "larger than 1,000 bytes")
        assert answer.headers["connection"] == "close"
    refused(client.post("/v1/versions/switch", content=b"x" * 70_000), 413, "65,536")
    refused(client.post("/v1/versions/switch", content=iter([b"x"])), 411, "unknown length")


def test_other_methods_and_paths_are_problems_too(client):
    client = client()

    refused(client.get("/v1/predict"), 405, "GET", "use POST")
    refused(client.get("/nothing"), 404, "Not Found")
    refused(client.delete("/health"), 405, "Method Not Allowed")
    for body, status in ((b"{", 400), (b"{}", 422), (b'{"version": "x", "y": 1}', 422)):
        answer = client.post("/v1/versions/switch", content=body, headers={"content-type": "application/json"})
        assert refused(answer, status, "")["where"].startswith("body")


def test_a_model_that_fails_is_500_without_our_paths(client, caplog):
    client = client()
    client.app_.model.close()

    doc = refused(post(client, {"input": IMAGE.tolist()}), 500, "the model failed")

    assert "tmp" not in json.dumps(doc)
    assert "the model is closed" in caplog.text


# --- the door ---


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN]
)
def test_a_wrong_token_opens_nothing(client, given):
    client = client(host="0.0.0.0", tokens=(TOKEN, "another-token-while-both-are-good"))
    headers = {"authorization": given} if given else {}

    for path in ("/v1/predict", "/v1/predict_batch", "/metrics", "/v1/versions", "/openapi.json", "/nothing"):
        answer = client.get(path, headers=headers)
        refused(answer, 401, "no valid token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in answer.text
    assert client.get("/health").json() == client.get("/ready").json() == {"ok": True}


def test_the_right_token_opens(client):
    client = client(host="0.0.0.0", tokens=(TOKEN,))

    answer = post(client, npy(IMAGE), "application/x-npy", authorization=f"bearer {TOKEN}")

    assert answer.status_code == 200
    assert client.get("/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()["security"]


@pytest.mark.parametrize("host", ["evil.example", "192.168.0.7:8000", "localhost.evil.example", "[2001:db8::1]:80"])
def test_without_a_token_only_names_of_this_machine_are_served(client, host):
    client = client()

    refused(client.get("/v1/versions", headers={"host": host}), 403, "is not this machine")
    refused(post(client, npy(IMAGE), "application/x-npy", host=host), 403, "is not this machine")
    for good in ("localhost", "127.0.0.1:8000", "[::1]:8000", "127.3.2.1"):
        assert client.get("/v1/versions", headers={"host": good}).status_code == 200


# --- what FastAPI serves ---


def test_versions_of_a_single_bundle(client):
    client = client()
    doc = client.get("/v1/versions").json()

    assert doc["version"] == doc["versions"][0]["version"]
    assert doc["versions"][0]["state"] == "current"
    answer = client.post("/v1/versions/switch", json={"version": "x"})
    refused(answer, 409, "a single bundle", "serve a store")


def test_metrics_count_what_happened(client):
    client = client()
    post(client, {"input": IMAGE.tolist()})
    post(client, {"inputs": [IMAGE.tolist()] * 3}, path="/v1/predict_batch")
    post(client, b"{")

    text = client.get("/metrics").text

    version = client.get("/v1/versions").json()["version"]
    for line in (
        'edge_server_requests_total{path="/v1/predict",status="200"} 1.0',
        'edge_server_requests_total{path="/v1/predict",status="400"} 1.0',
        f'edge_server_examples_total{{version="{version}"}} 4.0',
        f'edge_server_version{{version="{version}"}} 1.0',
        "edge_server_queue_examples 0.0",
    ):
        assert line in text.splitlines()
    assert client.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_monitor_shows_in_metrics_and_takes_labels(client, bundle, tmp_path):
    monitor = Monitor(bundle, tmp_path / "monitor.sqlite")
    client = client(monitor=monitor)
    doc = post(client, {"input": IMAGE.tolist()}).json()

    assert client.post("/v1/labels", json={"id": doc["id"], "label": doc["label"]}).json() == {"ok": True}
    refused(client.post("/v1/labels", json={"id": "none", "label": "cat"}), 422, "")
    refused(client.post("/v1/labels", json={"id": doc["id"], "label": "fish"}), 422, "no class 'fish'")
    lines = client.get("/metrics").text.splitlines()

    assert "edge_calls_total 1" in lines  # the measurement at the start is none
    assert 'edge_server_requests_total{path="/v1/predict",status="200"} 1.0' in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_without_a_monitor_labels_are_refused(client):
    refused(client().post("/v1/labels", json={"id": "x", "label": "cat"}), 409, "not monitored", "--monitor")


def test_a_dead_model_thread_is_told_to_the_probes(client):
    client = client()
    client.app_._batcher.close()

    for path in ("/health", "/ready"):
        answer = client.get(path)
        refused(answer, 503, "dead or stuck")
        assert answer.headers["retry-after"] == "5"


def test_openapi_holds_examples_that_work(client):
    client = client()
    doc = client.get("/openapi.json").json()

    for path in ("/v1/predict", "/v1/predict_batch"):
        example = doc["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert client.post(path, json=example).status_code == 200
    assert set(doc["paths"]) == {"/v1/predict", "/v1/predict_batch", "/health", "/ready", "/metrics", "/v1/versions",
                                 "/v1/versions/switch", "/v1/labels"}  # fmt: skip
