"""The rated sentences: found, refused if they are not the published ones, shuffled once and for all."""

import numpy as np
import pytest

from compress.errors import DataError
from compress.readers.movie_sentences import ARCHIVE, FOLDER_VARIABLE, find_archive, read_movie_sentences, split_rows

ROWS = "\n".join(f"{i}\t{(i % 9) - 4.0}\tsentence {i}" for i in range(3000))


def test_it_is_looked_for_in_the_named_folder_and_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(DataError, match="pip download --no-deps --no-binary vaderSentiment"):
        find_archive()

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ARCHIVE).touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
    assert find_archive().parent.name == "elsewhere"


def test_another_archive_is_refused(tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"something else")

    with pytest.raises(DataError, match="not the published archive"):
        read_movie_sentences(tmp_path / ARCHIVE)


def test_unclear_ratings_are_left_out_and_twins_count_once():
    raw = split_rows(ROWS + "\n1\t4.0\tsentence 1\nno rating\n5\tnan\tnot a number\n7\t0.4\tunclear")
    texts = [*raw.x_train, *raw.x_test]

    assert len(raw.x_test) == 1000
    assert len(texts) == len(set(texts)) == sum(i % 9 != 4 for i in range(3000))
    assert not {"not a number", "unclear"} & set(texts)
    labels = dict(zip(texts, [*raw.y_train, *raw.y_test], strict=True))
    assert labels["sentence 8"] == 1
    assert labels["sentence 0"] == 0


def test_the_test_split_is_always_the_same_and_mixed():
    a, b = split_rows(ROWS), split_rows(ROWS)

    assert a.x_test == b.x_test
    assert 0.35 < float(np.mean(a.y_test)) < 0.65
    assert not set(a.x_train) & set(a.x_test)
