import json

import numpy as np
import pytest

from compress.data.sources import open_data
from compress.errors import DataError
from compress.recipe.schema import DataConfig


def queue(folder, items, *, kind="image", labels=tuple("0123456789")):
    """An exported queue: (content, label or None) each."""
    (folder / "media").mkdir(parents=True)
    rows, decided = [], []
    for i, (content, label) in enumerate(items):
        row = {"id": f"i{i}", "predicted": labels[0], "confidence": 0.5}
        if isinstance(content, str):
            row["text"] = content
        else:
            np.save(folder / "media" / f"i{i}.npy", content)
            row["array"] = f"media/i{i}.npy"
        rows.append(row)
        if label is not None:
            decided.append({"id": f"i{i}", "label": label})
    head = {"format": "edge-queue", "format_version": 1, "name": "m", "kind": kind, "labels": labels}
    (folder / "queue.json").write_text(json.dumps(head))
    (folder / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "labels.jsonl").write_text("".join(json.dumps(r) + "\n" for r in decided))
    return str(folder)


@pytest.fixture(scope="module")
def digits():
    return open_data(DataConfig(source="digits"), 0).load()


def load(*folders):
    return open_data(DataConfig(source="digits", extra=folders), 0).load()


def new(seed):
    return np.random.default_rng(seed).integers(0, 17, (8, 8), np.uint8)


def test_labelled_items_join_the_training_split_and_no_other(tmp_path, digits):
    folder = queue(tmp_path / "q", [(new(0), "7"), (new(1), None), (new(2), "3")])

    data = load(folder)

    assert len(data.train) == len(digits.train) + 2
    assert (data.train.x[-2:] == [new(0), new(2)]).all()
    assert data.train.y[-2:].tolist() == [7, 3]
    for name in ("validation", "test", "calibration"):
        assert np.array_equal(getattr(data, name).x, getattr(digits, name).x)
    assert data.preprocessing == digits.preprocessing
    assert data.added["from the field"] == 2


def test_what_is_held_out_never_comes_back_through_the_field(tmp_path, digits):
    items = [(digits.test.x[0], "1"), (digits.validation.x[3], "2"), (new(0), "3")]

    data = load(queue(tmp_path / "q", items))

    assert len(data.train) == len(digits.train) + 1
    assert data.added["from the field, left out since held out"] == 2


def test_a_correction_of_a_training_example_replaces_its_label(tmp_path, digits):
    right = (digits.train.y[5] + 1) % 10

    data = load(queue(tmp_path / "q", [(digits.train.x[5], str(right)), (digits.train.x[6], str(digits.train.y[6]))]))

    assert len(data.train) == len(digits.train)
    assert data.train.y[5] == right
    assert (data.train.y != digits.train.y).sum() == 1
    assert data.added["corrected by the field"] == 1


def test_several_folders_and_a_trailing_channel_are_fine(tmp_path, digits):
    a = queue(tmp_path / "a", [(new(0), "7")])
    b = queue(tmp_path / "b", [(new(0), "7"), (new(1)[..., np.newaxis].astype(np.float32), "1")])

    assert len(load(a, b).train) == len(digits.train) + 2


def test_the_fingerprint_follows_labels_and_is_the_old_one_without_extra(tmp_path, digits):
    folder = queue(tmp_path / "q", [(new(0), "7"), (new(1), "1")])
    config = DataConfig(source="digits", extra=(folder,))
    first = open_data(config, 0).fingerprint

    assert first != digits.fingerprint
    with (tmp_path / "q" / "labels.jsonl").open("a") as file:
        file.write('{"id": "i1", "label": "2"}\n')
    assert open_data(config, 0).fingerprint != first
    assert "extra" not in DataConfig(source="digits").settings()


def test_texts_join_texts(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"good {i},a\nbad {i},b\n" for i in range(20)), encoding="utf-8")
    folder = queue(tmp_path / "q", [("so so", "b")], kind="text", labels=("a", "b"))

    data = open_data(DataConfig(csv=str(table), text="text", extra=(folder,)), 0, "text-classification").load()

    assert data.train.x[len(data.train) - 1] == "so so"
    assert data.train.y[-1] == 1


@pytest.mark.parametrize(
    ("items", "options", "says"),
    [
        ([(new(0), None)], {}, "no labels yet"),
        ([(new(0), "seven")], {"labels": ("seven",)}, "'seven', which is no class"),
        ([(np.zeros((9, 9), np.uint8), "1")], {}, "it has shape"),
        ([(np.full((8, 8), 400.0), "1")], {}, "do not fit the data's type"),
        ([("text", "1")], {"kind": "text"}, "holds text inputs, the data image"),
        ([(new(0), "1"), (new(0), "2")], {}, "the same input with two labels"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(tmp_path, items, options, says):
    with pytest.raises(DataError, match=says):
        load(queue(tmp_path / "q", items, **options))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load(str(tmp_path / "nothing"))
