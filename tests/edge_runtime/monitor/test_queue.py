import csv
import io
import json
import sqlite3
from xml.etree import ElementTree

import numpy as np
import pytest
from edge_runtime import cli
from edge_runtime.errors import BundleError, InputError
from edge_runtime.monitor import Monitor
from edge_runtime.monitor.reference import Reference
from edge_runtime.monitor.store import Store
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.queue import read_items
from edge_runtime.queue.export import export_queue
from edge_runtime.queue.payload import decode, encode, png
from edge_runtime.window import WindowPreprocessing

Image = pytest.importorskip("PIL.Image")

LABELS = ("zero", "<b>one</b>", '=cmd|"x"', *map(str, range(3, 10)))


@pytest.fixture
def make(tmp_path, statistics, digits):
    """Monitors with a queue, that know the digits' preprocessing and have awkward class names."""

    def new(keep="raw", path=tmp_path / "m.sqlite", **settings):
        monitor = Monitor(statistics, path, keep=keep, background=False, interval_s=3600, share=1.0, **settings)
        monitor.reference = Reference("digits", LABELS, statistics, digits.preprocessing)
        return monitor

    return new


def items(path):
    with sqlite3.connect(path) as db:
        found = read_items(db)
    db.close()
    return found


def test_uncertain_and_novel_inputs_are_kept_and_sure_ones_are_not(make, stream, digits, tmp_path):
    with make(keep_items=20) as monitor:
        for i in range(5):
            stream(monitor, 400, seed=i)
            monitor.flush()
    found = items(tmp_path / "m.sqlite")

    assert len(found) == 20
    assert np.median([i.uncertainty for i in found]) > 0.5
    assert len({i.digest for i in found}) == 20


def test_raw_examples_come_back_as_they_were(make, digits, tmp_path):
    with make() as monitor:
        monitor.seen(digits.x[:40], digits.logits[:40], 1000.0)
    found = items(tmp_path / "m.sqlite")

    raw = {digits.raw[i].tobytes() for i in range(40)}
    assert {decode(i.kind, i.payload).tobytes() for i in found} <= raw
    assert decode("image", found[0].payload).dtype == np.uint8


@pytest.mark.parametrize(("keep", "count", "content"), [("off", 0, False), ("features", 40, False), ("raw", 40, True)])
def test_privacy_is_what_the_file_holds(make, digits, tmp_path, keep, count, content):
    with make(keep) as monitor:
        monitor.seen(digits.x[:40], digits.logits[:40], 1000.0)
    found = items(tmp_path / "m.sqlite")

    assert len(found) == count
    assert all((i.payload is not None) == content for i in found)
    body = (tmp_path / "m.sqlite").read_bytes()
    assert any(raw.tobytes() in body for raw in digits.raw[:40]) == content


def test_the_queue_is_bounded_in_bytes(make, digits, tmp_path):
    with make(keep_bytes=2000) as monitor:
        monitor.seen(digits.x[:100], digits.logits[:100], 1000.0)

    assert 0 < sum(len(i.payload) for i in items(tmp_path / "m.sqlite")) <= 2000


def test_the_same_input_is_kept_once_also_after_a_restart(make, digits, tmp_path):
    for _ in range(2):
        with make() as monitor:
            for _ in range(3):
                monitor.seen(digits.x[:30], digits.logits[:30], 1000.0)

    assert len(items(tmp_path / "m.sqlite")) == len(np.unique(digits.x[:30].reshape(30, -1), axis=0))


def test_two_processes_share_one_bounded_queue(make, stream, tmp_path):
    a, b = make(keep_items=10), make(keep_items=10)
    for i in range(3):
        stream(a, 200, seed=i)
        stream(b, 200, seed=10 + i)
        a.flush()
        b.flush()
    a.close()
    b.close()

    assert len(items(tmp_path / "m.sqlite")) == 10


@pytest.fixture
def exported(make, digits, tmp_path, capsys):
    with make() as monitor:
        monitor.seen(digits.x[:30], digits.logits[:30], 1000.0)
    assert cli.main(["queue", "export", str(tmp_path / "m.sqlite"), str(tmp_path / "out")]) == 0
    assert "30 items" in capsys.readouterr().out
    return tmp_path / "out"


def test_the_folder_holds_what_it_says(exported, digits):
    head = json.loads((exported / "queue.json").read_text())
    rows = [json.loads(line) for line in (exported / "items.jsonl").read_text().splitlines()]

    assert (head["format"], head["items"], head["kind"], head["labels"]) == ("edge-queue", 30, "image", list(LABELS))
    assert len(rows) == 30
    for row in rows:
        array = np.load(exported / row["array"], allow_pickle=False)
        with Image.open(exported / row["view"]) as image:
            assert np.array_equal(np.asarray(image), array)
        assert row["predicted"] in LABELS
        assert any(np.array_equal(array, raw) for raw in digits.raw[:30])
    worth = [max(r["uncertainty"], r["novelty"] / 8) for r in rows]
    assert worth == sorted(worth, reverse=True)


def test_a_spreadsheet_runs_nothing(exported):
    rows = list(csv.DictReader(io.StringIO((exported / "items.csv").read_text(encoding="utf-8"))))

    assert len(rows) == 30
    assert all(r["label"] == "" for r in rows)
    assert not [v for r in rows for v in r.values() if v.startswith("=")]
    assert any(r["predicted"].startswith("'=") for r in rows)


def test_label_studio_gets_tasks_and_an_interface_that_fit_each_other(exported):
    tasks = json.loads((exported / "label_studio.json").read_text())
    view = ElementTree.fromstring((exported / "label_studio.xml").read_text())

    shown, choices = view.find("Image"), view.find("Choices")
    assert [c.get("value") for c in choices] == list(LABELS)
    for task in tasks:
        assert shown.get("value") == "$input"
        assert task["data"]["input"].startswith("/data/local-files/?d=out/media/")
        assert (exported.parent / task["data"]["input"].partition("?d=")[2]).is_file()
        (result,) = task["predictions"][0]["result"]
        assert (result["from_name"], result["to_name"]) == (choices.get("name"), shown.get("name"))
        assert result["value"]["choices"][0] in LABELS


def test_what_was_exported_has_left_the_file_and_is_not_asked_for_again(make, exported, digits, tmp_path, capsys):
    assert items(tmp_path / "m.sqlite") == []
    body = b"".join(p.read_bytes() for p in tmp_path.glob("m.sqlite*"))
    assert not any(raw.tobytes() in body for raw in digits.raw[:30])
    with make() as monitor:
        monitor.seen(digits.x[:30], digits.logits[:30], 1000.0)

    assert items(tmp_path / "m.sqlite") == []
    assert cli.main(["queue", "export", str(tmp_path / "m.sqlite"), str(tmp_path / "again")]) == 2
    assert "the queue is empty" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_export_does_not_overwrite(make, exported, tmp_path, capsys):
    assert cli.main(["queue", "export", str(tmp_path / "m.sqlite"), str(exported)]) == 2
    assert "already" in capsys.readouterr().err
    assert cli.main(["queue", "export", str(tmp_path / "none.sqlite"), str(tmp_path / "x")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "none.sqlite").exists()


def test_texts_are_kept_as_they_were_written(tmp_path):
    from edge_runtime.statistics import Statistics

    generator = np.random.default_rng(0)
    ids = generator.integers(1, 50, (200, 8))
    logits = generator.normal(size=(200, 2)).astype(np.float32)
    statistics = Statistics.of(ids, logits, kind="text")
    texts = [f"text {i} <script>alert(1)</script> \U0001f600" for i in range(20)]
    with Monitor(statistics, tmp_path / "t.sqlite", keep="raw", background=False, share=1.0) as monitor:
        monitor.seen(ids[:20], logits[:20], 1000.0, raw=texts)
        monitor.seen(np.pad(ids[20:40], ((0, 0), (0, 8))), logits[20:40], 1000.0, raw=None)
    store = Store(tmp_path / "t.sqlite")
    assert export_queue(store, tmp_path / "out") == 40
    store.close()

    rows = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {r["text"] for r in rows if "text" in r} == set(texts)
    assert sum("features" in r for r in rows) == 20
    assert '<Text name="input"' in (tmp_path / "out" / "label_studio.xml").read_text()


def test_windows_come_with_a_table_to_look_at(tmp_path):
    pre = WindowPreprocessing(length=12, channels=2, scale=0.5, mean=(1.0, 2.0), std=(2.0, 3.0))
    raw = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)

    data = encode("window", pre(raw[np.newaxis])[0], None, pre)

    assert decode("window", data) == pytest.approx(raw, abs=1e-5)
    assert encode("tensors", None, None, None) is None
    with pytest.raises(BundleError, match="damaged"):
        decode("window", data[:50])


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1, 4), (3, 2, 1)])
def test_png_is_read_by_pillow(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    with Image.open(io.BytesIO(png(pixels))) as image:
        assert np.array_equal(np.asarray(image).reshape(shape), pixels)


def test_colour_images_are_kept_in_their_own_units():
    pre = Preprocessing(
        "image", height=4, width=4, channels=3, scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1)
    )
    raw = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)

    assert np.array_equal(decode("image", encode("image", pre(raw[np.newaxis])[0], None, pre)), raw)


@pytest.mark.parametrize("wrong", [{"keep": "everything"}, {"keep_items": 1}, {"keep_bytes": 0}])
def test_a_queue_that_makes_no_sense_is_refused(statistics, wrong):
    with pytest.raises(InputError, match=r"everything|queue of"):
        Monitor(statistics, None, **wrong)
