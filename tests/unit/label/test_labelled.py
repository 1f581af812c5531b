import json
import shutil

import numpy as np
import pytest

from compress.errors import DataError
from compress.label.corrections import import_labels
from compress.readers.labelled import digest_queue, open_queue


def test_decisions_are_kept_and_the_last_one_counts(make):
    queue, _ = make()
    a, b, c = list(queue.items)[:3]

    queue.decide([(a, "zero"), (b, "=two"), (c, "zero")])
    queue.decide([(a, "class 3"), (c, None)])

    assert open_queue(queue.folder).decisions() == {b: "=two", a: "class 3"}


def test_arrays_are_the_examples(make):
    queue, raw = make()

    found = sorted(queue.array(i).tobytes() for i in queue.items.values())

    assert found == sorted(r.tobytes() for r in raw)


def test_half_a_line_that_a_power_cut_left_is_no_decision(make):
    queue, _ = make()
    a, b = list(queue.items)[:2]
    queue.decide([(a, "zero")])
    with (queue.folder / "labels.jsonl").open("a") as file:
        file.write('{"id": "' + b)

    assert queue.decisions() == {a: "zero"}
    queue.decide([(b, "zero")])
    assert queue.decisions() == {a: "zero", b: "zero"}


@pytest.mark.parametrize(
    ("id", "label", "says"), [("nobody", "zero", "no item"), (None, "purple", "no class 'purple'")]
)
def test_a_wrong_decision_is_refused_whole(make, id, label, says):
    queue, _ = make()
    first = next(iter(queue.items))

    with pytest.raises(DataError, match=says):
        queue.decide([(first, "zero"), (id or first, label)])
    assert queue.decisions() == {}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("queue.json", None, "missing"),
        ("queue.json", "{}", "not an exported queue"),
        ("queue.json", '{"format": "edge-queue", "format_version": 9}', "format 9"),
        ("queue.json", "[" * 100_000, "not valid JSON"),
        ("queue.json", '{"format": "edge-queue", "format_version": 1, "kind": "smell", "labels": []}', "damaged"),
        ("queue.json", '{"format": "edge-queue", "format_version": 1, "kind": "image", "labels": []}', "no classes"),
        ("items.jsonl", '{"id": 5}\n', "damaged item"),
        ("items.jsonl", "nonsense\n{}\n", "not valid JSON"),
        ("items.jsonl", '{"id": "a", "confidence": "high"}\n', "no number"),
    ],
)
def test_a_damaged_folder_is_refused_with_the_reason(make, name, content, says):
    queue, _ = make()
    path = queue.folder / name
    path.unlink()
    if content is not None:
        path.write_text(content)

    with pytest.raises(DataError, match=says):
        open_queue(queue.folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        open_queue(tmp_path / "nothing")


@pytest.mark.parametrize("path", ["../secret.npy", "/etc/passwd", "media/link.npy"])
def test_content_outside_the_folder_is_refused(make, path):
    queue, raw = make()
    np.save(queue.folder.parent / "secret.npy", raw[0])
    (queue.folder / "media" / "link.npy").symlink_to(queue.folder.parent / "secret.npy")
    rows = [json.loads(line) for line in (queue.folder / "items.jsonl").read_text().splitlines()]
    rows[0]["array"] = path
    (queue.folder / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    spoilt = open_queue(queue.folder)

    with pytest.raises(DataError, match=r"leaves|relative|link"):
        spoilt.array(spoilt.items[rows[0]["id"]])


def test_the_digest_changes_with_labels_and_content_and_with_nothing_else(make, tmp_path):
    queue, _ = make()
    a, b = list(queue.items)[:2]
    queue.decide([(a, "zero")])
    first = digest_queue(queue.folder)

    moved = tmp_path / "elsewhere"
    shutil.copytree(queue.folder, moved)
    queue.decide([(b, "zero"), (b, None), (a, "zero")])
    assert digest_queue(moved) == digest_queue(queue.folder) == first
    queue.decide([(a, "=two")])
    assert digest_queue(queue.folder) != first


def studio(queue, choices):
    """What Label Studio exports after `choices` (item -> class) were made on our label_studio.json."""
    tasks = json.loads((queue.folder / "label_studio.json").read_text())
    for number, task in enumerate(tasks):
        task["id"] = number
        choice = choices.get(task["data"]["edge_id"])
        result = {"from_name": "label", "to_name": "input", "type": "choices", "value": {"choices": [choice]}}
        old = {"result": [{**result, "value": {"choices": ["class 11"]}}], "updated_at": "2020-01-01T00:00:00Z"}
        new = {"result": [result], "updated_at": "2026-01-01T00:00:00Z", "was_cancelled": False}
        task["annotations"] = [new, old] if choice else [{"result": [], "was_cancelled": True}]
    return tasks


def test_label_studios_export_comes_back(make, tmp_path):
    queue, _ = make()
    a, b, c = list(queue.items)[:3]
    (tmp_path / "export.json").write_text(json.dumps(studio(queue, {a: "zero", b: "<img src=x onerror=alert(1)>"})))

    assert import_labels(queue, tmp_path / "export.json") == 2
    assert queue.decisions() == {a: "zero", b: "<img src=x onerror=alert(1)>"}

    flat = [{"id": 1, "edge_id": c, "input": "x", "label": "=two"}, {"id": 2, "edge_id": a, "input": "x"}]
    (tmp_path / "min.json").write_text(json.dumps(flat))
    assert import_labels(queue, tmp_path / "min.json") == 1
    assert queue.decisions()[c] == "=two"


def test_a_filled_in_spreadsheet_comes_back(make, tmp_path):
    queue, _ = make()
    lines = (queue.folder / "items.csv").read_text().splitlines()
    (tmp_path / "done.csv").write_text("\n".join([lines[0], lines[1] + "'=two", lines[2] + " zero ", *lines[3:]]))

    assert import_labels(queue, tmp_path / "done.csv") == 2
    assert sorted(queue.decisions().values()) == ["=two", "zero"]


def test_our_own_lines_come_back(make, tmp_path):
    queue, _ = make()
    a = next(iter(queue.items))
    (tmp_path / "other.jsonl").write_text(json.dumps({"id": a, "label": "zero"}) + "\n\n")

    assert import_labels(queue, tmp_path / "other.jsonl") == 1
    assert queue.decisions() == {a: "zero"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xml", "", "unknown kind"),
        ("a.json", "{}", "damaged or of another kind"),
        ("a.json", "[1]", "damaged or of another kind"),
        ("a.json", '[{"annotations": [{"result": 5}]}]', "damaged or of another kind"),
        ("a.json", "[]", "no labels"),
        ("a.csv", "id,name\n1,2\n", "damaged or of another kind: 'label' is not there"),
        ("a.csv", "id,label\n1,zero\n2\n", "damaged or of another kind: line 3 has fewer cells"),
        ("a.json", '[{"id": 1}]', "damaged or of another kind: 'edge_id' is not there"),
        ("a.jsonl", '{"id": "x", "label": ["a", "b"]}', "2 choices"),
        ("a.jsonl", '{"id": "x", "label": "zero"}', "no item 'x'"),
        ("a.jsonl", b"\xff\xfe", "cannot be read"),
        ("none.jsonl", None, "cannot be read"),
    ],
)
def test_a_file_of_labels_that_is_wrong_changes_nothing(make, tmp_path, name, content, says):
    queue, _ = make()
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(DataError, match=says):
        import_labels(queue, tmp_path / name)
    assert queue.decisions() == {}
