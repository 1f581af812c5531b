"""Folders of images: read as the device reads them, and what is wrong is said with the file's name."""

import numpy as np
import pytest
from edge_runtime.inputs import as_array
from edge_runtime.preprocessing import Preprocessing

from compress.data.sources import open_data
from compress.errors import DataError
from compress.readers.images import find_images, image_shape, read_images
from compress.recipe.facts import DataShape, data_shape
from compress.recipe.schema import DataConfig

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path):
    """Six grey images of two classes, 6 x 4."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            save(tmp_path / name / f"{i}.png", generator.integers(0, 255, (6, 4), dtype=np.uint8))
    return tmp_path


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def read(folder, size=None, channels=None):
    return read_images(find_images(folder), size, channels)


def test_classes_are_folders_and_pixels_are_kept(folder):
    (folder / "cat" / ".hidden").write_text("x")
    (folder / "dog" / "Thumbs.db").write_text("x")
    raw = read(folder)

    assert (raw.classes, raw.y_train.tolist(), raw.x_train.shape) == (("cat", "dog"), [0, 0, 0, 1, 1, 1], (6, 6, 4))
    np.testing.assert_array_equal(raw.x_train[4], np.asarray(Image.open(folder / "dog" / "1.png")))
    assert data_shape(DataConfig(images=str(folder))) == DataShape((1, 6, 4), 2)


def test_train_and_test_folders_are_the_splits(folder):
    for split in ("train", "test"):
        for name in ("10", "9"):
            save(folder / "set" / split / name / "a.png", np.zeros((2, 2), np.uint8))
    raw = read(folder / "set")
    assert (raw.classes, raw.y_test.tolist()) == (("9", "10"), [0, 1])

    (folder / "set" / "tset").mkdir()
    with pytest.raises(DataError, match="there is a folder 'tset'; did you mean 'test'"):
        read(folder / "set")


def test_size_and_colour_are_the_device_s_own_conversion(folder):
    generator = np.random.default_rng(1)
    path = save(folder / "cat" / "9.png", generator.integers(0, 255, (9, 5, 3), dtype=np.uint8))
    raw = read(folder, size=(3, 3), channels=3)
    target = Preprocessing("image", height=3, width=3, channels=3)
    wanted = target(as_array(path, target)[None])[0].transpose(1, 2, 0)

    assert raw.x_train.shape == (7, 3, 3, 3)
    np.testing.assert_allclose(raw.x_train[3], wanted, atol=0.5)


def test_a_photograph_is_turned_upright(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "cat" / "9.jpg", np.zeros((4, 6), np.uint8), exif=exif)
    assert image_shape(find_images(folder), None, None) == (6, 4, 1)
    assert len(read(folder).x_train) == 7


def test_a_folder_of_images_is_data(folder):
    config = DataConfig(images=str(folder), validation=0.5, test=0.34)
    handle = open_data(config, 0)
    assert (len(handle.load().train), handle.name) == (2, folder.name)
    (folder / "cat" / "0.png").rename(folder / "cat" / "7.png")
    assert open_data(config, 0).fingerprint != handle.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "cat" / "1.png").write_bytes(b"not an image"), "cat/1.png: it cannot be read as an image"),
        (lambda f: (f / "dog" / "1.png").write_bytes((f / "dog" / "1.png").read_bytes()[:60]), "dog/1.png: "),
        (lambda f: (f / "cat" / "notes.txt").write_text("x"), "cat/notes.txt: it is no image file"),
        (lambda f: (f / "cat" / "more").mkdir(), "cat/more: it is a folder within a class"),
        (lambda f: save(f / "dog" / "9.png", np.zeros((5, 5), np.uint8)), "dog/9.png: it is 5 x 5, the first image 6"),
        (lambda f: save(f / "dog" / "9.png", np.zeros((6, 4, 3), np.uint8)), "dog/9.png: it is in colour, the first"),
        (lambda f: save(f / "test" / "cat" / "9.png", np.zeros((6, 4), np.uint8)), "there is a folder 'cat'"),
    ],
)
def test_what_is_wrong_names_the_file(folder, change, message):
    change(folder)
    with pytest.raises(DataError) as caught:
        read(folder)
    assert message in str(caught.value)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(folder, monkeypatch):
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (folder / "cat" / "0.png").write_bytes(bomb)
    for options in ({}, {"size": (8, 8), "channels": 1}):
        with pytest.raises(DataError, match=r"0\.png: .*(too many|exceeds limit|60,?000)"):
            read(folder, **options)


def test_images_that_would_fill_the_memory_are_counted_first(folder):
    with pytest.raises(DataError, match="images of 40000 x 40000 take"):
        read(folder, size=(40_000, 40_000), channels=3)


def test_an_empty_or_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        find_images(tmp_path / "absent")
    with pytest.raises(DataError, match="it holds no folders"):
        find_images(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="it holds no images"):
        find_images(tmp_path)


def test_all_damaged_files_are_told_at_once(folder):
    for name in ("3", "4"):
        (folder / "cat" / f"{name}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"cat/3\.png.*\(1 more problem: .*cat/4\.png\)") as told:
        read(folder)
    assert told.value.fix == "repair it, or take it out"

    for i in range(20):
        (folder / "dog" / f"{i}.txt").write_text("x")
    with pytest.raises(DataError, match=r"it is no image file \(19 more problems: .*dog/1\.txt; .*; \.\.\.\)"):
        read(folder)
