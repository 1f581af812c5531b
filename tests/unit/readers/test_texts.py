"""Texts are cut and picked from as arrays are, and nothing but texts gets in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import DataError
from compress.readers.texts import Texts

words = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12)


@given(words, st.data())
def test_picking_is_numpy_s(items, data):
    texts, reference = Texts(items), np.array([*items, None], object)[:-1]
    places = np.array(data.draw(st.lists(st.integers(0, max(len(items) - 1, 0)), max_size=20 * bool(items))), np.int64)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items))), bool)

    assert list(texts[places]) == reference[places].tolist()
    assert list(texts[mask]) == reference[mask].tolist()
    assert list(texts[1:-1]) == reference[1:-1].tolist()
    assert [texts[i] for i in range(len(texts))] == items


def test_the_digest_knows_where_a_text_ends():
    digests = {Texts(t).digest() for t in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], [])}
    assert len(digests) == 5
    assert Texts(["ab", "c"]).digest() in digests


@pytest.mark.parametrize(
    ("item", "message"), [(3, "example 1 is int"), ("\ud800", "example 1 holds half a surrogate pair")]
)
def test_what_is_no_text_is_refused(item, message):
    with pytest.raises(DataError, match=message):
        Texts(["good", item])


@pytest.mark.parametrize("index", [np.array([0.5]), np.array([[0]]), np.array([True])])
def test_a_wrong_index_is_refused(index):
    with pytest.raises(IndexError):
        Texts(["a", "b"])[index]
