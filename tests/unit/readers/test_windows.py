"""Recordings cut into windows: from the gestures' file, from tables, and by hand."""

import io
import pickle
from importlib import metadata

import numpy as np
import pytest

from compress.errors import DataError
from compress.readers.gestures import CLASSES, INSIDE, read_gestures, read_objects
from compress.readers.table import Columns, read_table, table_shape
from compress.readers.windows import cut_windows


def installed():
    try:
        from pathlib import Path

        return Path(str(metadata.distribution("seglearn").locate_file(INSIDE)))
    except metadata.PackageNotFoundError:
        return None


needs_gestures = pytest.mark.skipif(installed() is None, reason="seglearn is not installed")


def test_windows_start_every_step_and_stay_inside_their_recording():
    recordings = [np.arange(10.0)[:, None], np.arange(100.0, 104.0)[:, None]]
    x, owner = cut_windows(recordings, 4, 3, ["a", "b"], "here")

    assert x[:, :, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [100, 101, 102, 103]]
    assert (owner.tolist(), x.dtype) == ([0, 0, 0, 1], np.float32)


def test_a_recording_shorter_than_a_window_is_named():
    with pytest.raises(DataError, match="b has 3 readings, fewer than a window's 4"):
        cut_windows([np.zeros((9, 1)), np.zeros((3, 1))], 4, 4, ["a", "b"], "here")


def table(rows):
    return "ax,ay,move,who,take,part\n" + "".join(f"{i},{-i},{m},{w},{t},{p}\n" for i, (m, w, t, p) in enumerate(rows))


WINDOWS = Columns("move", split="part", group="who", window=(3, 2), series="take")


def test_a_table_of_readings_is_cut_where_label_person_or_take_changes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(table([*[("up", "ann", 1, "train")] * 5, *[("up", "ann", 2, "train")] * 3,
                           *[("down", "bob", 1, "test")] * 4]))  # fmt: skip
    raw = read_table(path, WINDOWS)

    assert raw.x_train[:, :, 0].tolist() == [[0, 1, 2], [2, 3, 4], [5, 6, 7]]
    assert raw.x_test[:, 0].tolist() == [[8, -8]]
    assert (raw.kind, raw.classes, raw.group.tolist()) == ("windows", ("down", "up"), ["ann"] * 3)
    assert (raw.y_train.tolist(), raw.y_test.tolist()) == ([1, 1, 1], [0])
    assert table_shape(path, WINDOWS) == (2, 2)


def test_a_short_recording_of_a_table_is_named_by_its_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(table([*[("up", "ann", 1, "train")] * 4, *[("up", "ann", 2, "train")] * 2]))
    with pytest.raises(DataError, match="the recording from line 6 on has 2 readings, fewer than a window's 3"):
        read_table(path, WINDOWS)


@needs_gestures
def test_the_gestures_are_ten_people_and_seven_exercises():
    raw = read_gestures(installed(), 128, 64)

    assert (raw.x_train.shape, raw.x_train.dtype, raw.kind) == ((3605, 128, 6), np.float32, "windows")
    assert (sorted(set(raw.group.tolist())), np.unique(raw.y_train).tolist()) == (list(range(1, 11)), list(range(7)))
    assert len(CLASSES) == 7


@needs_gestures
def test_reading_without_unpickling_gives_what_unpickling_gives():
    found = read_objects(installed().read_bytes(), "here")
    reference = np.load(installed(), allow_pickle=True).item()

    assert found.keys() == reference.keys()
    for ours, theirs in zip(found["X"], reference["X"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found["subject"], reference["subject"])
    assert found["y_labels"] == reference["y_labels"]


class Harmful:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize(
    ("content", "message"),
    [(Harmful(), "it names __builtin__ print"), ([1], "it holds list, not a dictionary"), ({"a": 1 << 70}, "LONG1")],
)
def test_what_a_pickle_asks_for_is_never_called(capsys, content, message):
    out = io.BytesIO()
    pickle.dump(content, out, protocol=2)
    with pytest.raises(DataError, match=message):
        read_objects(b"header\n" + out.getvalue(), "here")
    assert capsys.readouterr().out == ""


def test_another_file_of_that_name_is_refused(tmp_path):
    path = tmp_path / "watch_dataset.npy"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="not the file that this version knows"):
        read_gestures(path, 128, 64)
    with pytest.raises(DataError, match="something else than plain arrays"):
        read_objects(b"x\n\x80\x02", "here")
