"""Splitting and checking: seeded, stratified, disjoint, and a clear refusal of data that cannot be used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data.splits import make_dataset, stratified
from compress.errors import DataError
from compress.readers.raw import Raw
from compress.readers.texts import Texts
from compress.recipe.schema import DataConfig, NormalizeConfig

CONFIG = DataConfig(npz="toy.npz", validation=0.25, test=0.2, calibration=12)


def toy(count=60, classes=3, dtype=np.uint8):
    """Examples that carry their own number, so that a test can follow them."""
    x = np.zeros((count, 4, 4), dtype)
    x[:, 0, 0] = np.arange(count)
    return x, np.arange(count) % classes


def build(raw, config=CONFIG, seed=0):
    return make_dataset(raw, config, seed, name="toy", fingerprint="f")


def ids(split):
    return set(split.x[:, 0, 0].tolist())


def test_splits_are_disjoint_complete_and_stratified():
    data = build(Raw(*toy()))

    parts = [ids(data.train), ids(data.validation), ids(data.test)]
    assert [len(p) for p in parts] == [36, 12, 12]
    assert set.union(*parts) == set(range(60))
    assert ids(data.calibration) < ids(data.train)
    for split in (data.train, data.validation, data.test, data.calibration):
        assert len(set(np.bincount(split.y).tolist())) == 1


def test_the_seed_chooses_the_splits():
    assert ids(build(Raw(*toy()), seed=0).test) != ids(build(Raw(*toy()), seed=1).test)


def test_a_source_s_own_test_split_is_never_mixed_in():
    x, y = toy()
    data = build(Raw(x, y, x[:30] + 100, y[:30]))

    assert ids(data.test) == set(range(100, 130))
    assert ids(data.train) | ids(data.validation) == set(range(60))


def test_limit_shortens_training_and_a_fifth_of_it_test():
    x, y = toy()
    data = build(Raw(x, y, x, y), CONFIG.model_copy(update={"limit": 20}))

    assert (len(data.train) + len(data.validation), len(data.test)) == (20, 4)


def test_the_spread_of_numbers_far_from_zero_is_found_or_refused():
    """Time stamps, say: their squares have more digits than a float."""
    rows = np.arange(60, dtype=np.float64)
    for far, spread in ((1.7e9, 1e5), (1e12, 1e9), (-4.0, 1.0), (101325.0, 0.5)):
        x = np.stack([far + spread * (rows % 2), rows], axis=1)
        data = build(Raw(x, np.arange(60) % 3, kind="table"))
        assert data.preprocessing.std[0] == pytest.approx(data.train.x[:, 0].std(), rel=1e-5)
        assert abs(data.inputs(data.train)[:, 0].mean()) < 0.02
    for far, spread, message in ((1.7e9, 1.0, r"column 1 of 2 has values around 1.7e\+09 that float32"),
                                 (0.1, 0.0, "column 1 of 2 never changes")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            build(Raw(np.stack([far + spread * (rows % 2), rows], axis=1), np.arange(60) % 3, kind="table"))


def test_mean_and_std_come_from_the_training_split_alone():
    x, y = toy(dtype=np.float32)
    data = build(Raw(x, y, x + 1e6, y))
    inputs = data.inputs(data.train)

    assert inputs.mean() == pytest.approx(0.0, abs=1e-5)
    assert inputs.std() == pytest.approx(1.0, abs=1e-5)
    assert data.preprocessing.mean[0] == pytest.approx(data.train.x.mean(), rel=1e-5)


def test_colour_images_are_normalised_per_channel_and_vectors_as_a_whole():
    generator = np.random.default_rng(0)
    y = np.arange(60) % 3
    colour = build(Raw(generator.normal([1, 2, 3], [1, 10, 100], (60, 5, 5, 3)), y))
    vector = build(Raw(generator.normal(5.0, 2.0, (60, 7)), y))

    np.testing.assert_allclose(colour.inputs(colour.train).std((0, 2, 3)), 1.0, atol=1e-4)
    assert colour.input_shape == (3, 5, 5)
    assert vector.input_shape == (7,)
    assert len(vector.preprocessing.mean) == 1


def with_x(change):
    x, y = toy(dtype=np.float32)
    return Raw(change(x), y)


def with_y(change):
    x, y = toy()
    return Raw(x, change(y), classes=("a", "b", "c"))


BAD = {
    "rank": (with_x(lambda x: x.reshape(-1)), "x has shape", "give (n, height, width)"),
    "channel first": (with_x(lambda x: np.zeros((60, 3, 8, 8))), "looks channel first", "move channels to the last"),
    "dtype": (with_x(lambda x: x.astype(bool)), "x has dtype bool", "give numbers"),
    "length": (with_x(lambda x: x[:50]), "50 examples but 60 labels", "one label per example"),
    "nan": (with_x(lambda x: np.where(x == 7, np.nan, x)),
            "1 of 60 examples hold NaN or infinity, the first is example 7", "repair"),
    "infinity": (with_x(lambda x: np.where(x > 50, np.inf, x)), "9 of 60 examples hold NaN", "remove or repair"),
    "constant": (with_x(lambda x: x * 0), "all training values are the same", "give examples that differ"),
    "empty": (Raw(np.zeros((0, 4, 4)), np.zeros(0, int), classes=("a", "b")), "it is empty", "at least one example"),
    "no labels": (Raw(np.zeros((0, 4, 4)), np.zeros(0, int)), r"y is int64 of shape (0,)", "one whole number"),
    "float labels": (with_y(lambda y: y + 0.5), "y is float64", "one whole number per example"),
    "one-hot labels": (with_y(lambda y: np.eye(3, dtype=int)[y]), "y is int64 of shape (60, 3)", "one whole number"),
    "too large": (with_y(lambda y: np.where(y == 2, 3, y)), "label 3 of example 2 is outside 0..2", "correct it"),
    "negative": (with_y(lambda y: y - 1), "label -1 of example 0 is outside 0..2", "correct it"),
    "absent": (with_y(lambda y: y % 2), "no example of class 'c'", "add examples of it"),
    "rare": (with_y(lambda y: np.where(np.arange(60) == 2, 2, y % 2)), "after splitting: no example of class 'c'",
             "each class needs 2 or more"),
    "one class": (Raw(*toy(classes=1)), "1 class", "two or more"),
    "same names": (Raw(*toy(), classes=("a", "a", "b")), "two classes have the same name", "its own name"),
    "other test shape": (Raw(*toy(), np.zeros((5, 3, 3), np.uint8), np.zeros(5, int)),
                         "test examples are uint8 (3, 3), training ones uint8 (4, 4)", "one shape and dtype"),
    "huge label": (Raw(toy()[0], toy()[1] + 10**6), "the largest label is 1000002", "number the classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_unusable_data_says_what_where_and_the_cure(case):
    raw, what, fix = BAD[case]

    with pytest.raises(DataError) as caught:
        build(raw)

    assert what in str(caught.value)
    assert "data toy" in caught.value.where
    assert fix in caught.value.fix


def test_too_few_examples_for_a_split_are_refused():
    with pytest.raises(DataError, match="5 examples give 4 and 1; each of 3 classes must be in both"):
        build(Raw(*toy(count=5)))
    with pytest.raises(DataError, match="2 examples for 3 classes"):
        build(Raw(*toy()), CONFIG.model_copy(update={"limit": 2}))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.data())
def test_stratified_takes_the_asked_number_in_proportion(labels, data):
    y = np.array(labels)
    count = data.draw(st.integers(1, len(y)))

    taken = stratified(y, count, np.random.default_rng(0))

    assert len(taken) == len(set(taken.tolist())) == count
    assert (np.diff(taken) > 0).all()
    kinds = len(set(labels))
    for c in set(labels):
        exact, got = np.sum(y == c) * count / len(y), np.sum(y[taken] == c)
        assert got >= (1 if count >= kinds else 0)
        assert abs(got - exact) < kinds + 1


def test_groups_stay_on_one_side_of_every_split():
    x, y = toy(240)
    group = np.repeat(np.array([f"person {i}" for i in range(12)]), 20)
    data = build(Raw(x, y, group=group))

    people = [set(s.group.tolist()) for s in (data.train, data.validation, data.test)]
    assert [len(p) for p in people] == [8, 2, 2]
    assert sum(map(len, people)) == len(set.union(*people)) == 12
    assert set(data.calibration.group.tolist()) <= people[0]
    other = build(Raw(x, y, group=group), seed=1)
    assert set(other.test.group.tolist()) != people[2]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (np.zeros(60, np.int64), "1 groups cannot be shared out"),
        (np.arange(60) % 3, "no 1 of 3 groups leave every class on both sides"),
        (np.zeros(5, np.int64), "60 examples but 5 groups"),
        (np.zeros(60), "group is float64"),
    ],
)
def test_groups_that_cannot_be_split_are_explained(group, message):
    with pytest.raises(DataError, match=message):
        build(Raw(*toy(), group=group))


def test_texts_are_split_like_arrays_and_wait_for_a_tokenizer():
    texts = Texts(str(i) for i in range(60))
    data = build(Raw(texts, toy()[1], x_validation=texts[:6], y_validation=toy()[1][:6]))

    assert (len(data.train), len(data.validation), len(data.test)) == (48, 6, 12)
    assert {*data.train.x, *data.test.x} == set(texts)
    assert not len(data.without_test().test.x)
    with pytest.raises(DataError, match="without a tokenizer"):
        data.inputs(data.train)
    changed = data.with_preprocessing(len, "words")
    assert (changed.inputs(changed.train), changed.fingerprint == data.fingerprint) == (48, False)


def test_a_test_split_of_another_kind_is_refused():
    with pytest.raises(DataError, match="test examples are texts, training ones uint8"):
        build(Raw(*toy(), Texts(["a", "b", "c"]), np.arange(3)))


def test_windows_are_normalised_by_channel_and_tables_by_column():
    generator = np.random.default_rng(0)
    scales = np.array([1.0, 50.0], np.float32)
    for kind, shape in (("windows", (60, 8, 2)), ("table", (60, 2))):
        x = (generator.normal(size=shape) * scales + 3).astype(np.float32)
        data = build(Raw(x, np.arange(60) % 3, kind=kind))
        np.testing.assert_allclose(data.preprocessing.std, scales, rtol=0.4)
        assert data.inputs(data.test).shape == (12, *((2, 1, 8) if kind == "windows" else (2,)))
    x[:, 1] = 4
    with pytest.raises(DataError, match="column 2 of 2 never changes"):
        build(Raw(x, np.arange(60) % 3, kind="table"))
    with pytest.raises(DataError, match=r"windows want \(n, length, channels\)"):
        build(Raw(x, np.arange(60) % 3, kind="windows"))


def test_numbers_that_a_model_was_trained_with_are_taken_as_they_are():
    config = CONFIG.model_copy(update={"normalize": NormalizeConfig(scale=0.5, mean=(1.0, 2.0), std=(1.0, 4.0))})
    x = np.full((60, 4, 4, 2), 8, np.uint8)
    data = build(Raw(x, np.arange(60) % 3), config)

    np.testing.assert_array_equal(data.inputs(data.test)[0, :, 0, 0], [3.0, 0.5])
    with pytest.raises(DataError, match=r"data toy normalize: mean holds 2 values, want 1"):
        build(Raw(x[..., 0], np.arange(60) % 3), config)


def test_columns_follow_their_examples_through_every_cut():
    x, y = toy()
    data = build(Raw(x, y, columns={"number": np.arange(60).astype(str)}))

    for split in (data.train, data.validation, data.test, data.calibration):
        assert [int(v) for v in split.columns["number"]] == split.x[:, 0, 0].tolist()
