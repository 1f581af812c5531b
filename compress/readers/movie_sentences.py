"""Movie-review sentences rated by at least twenty people each, from the source distribution of vaderSentiment 3.3.2.

Hutto and Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text". MIT. The
package's wheel leaves the ratings out, so they are read from the source distribution's own archive.
"""

import hashlib
import io
import math
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np

from compress.errors import DataError
from compress.readers.raw import Raw
from compress.readers.texts import Texts

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
CLASSES = ("negative", "positive")
FOLDER_VARIABLE = "COMPRESS_DATA"
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_RATINGS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_CLEAR = 0.5  # ratings from -4 to 4; nearer to zero the raters do not agree on a side
_TEST = 1000
_SHUFFLE = 20141  # the file is sorted by class


def find_archive() -> Path:
    """The archive in $COMPRESS_DATA, ./data or here.

    Raises:
        DataError: it is in none of them.
    """
    folders = [Path(p) for p in (os.environ.get(FOLDER_VARIABLE, ""), "data", ".") if p]
    for folder in folders:
        if (folder / ARCHIVE).is_file():
            return folder / ARCHIVE
    fix = f"pip download --no-deps --no-binary vaderSentiment vaderSentiment==3.3.2 -d data  (or set {FOLDER_VARIABLE})"
    looked = ", ".join(str(f) for f in folders)
    raise DataError(f"{ARCHIVE} is in none of {looked}", "data.source movie-sentences", fix)


def read_movie_sentences(path: Path) -> Raw:
    """Sentences whose mean rating is clearly positive or negative; 1,000 of them, chosen once for all, are the test.

    Raises:
        DataError: it is not that archive.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError("it is not the published archive", str(path), "download it again")
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as outer:
            inner = outer.extractfile(_INNER)
            with tarfile.open(fileobj=io.BytesIO(inner.read() if inner else b"")) as archive:
                ratings = archive.extractfile(_RATINGS)
                text = (ratings.read() if ratings else b"").decode("utf-8", "replace")
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"it cannot be read: {error}", str(path), "download it again") from error
    return split_rows(text)


def split_rows(text: str) -> Raw:
    """Lines of id, mean rating, sentence to examples; a sentence that stands there twice counts once."""
    clear: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and math.isfinite(rating := float(fields[1])) and abs(rating) > _CLEAR:
            clear.setdefault(fields[2].strip(), int(rating > 0))
    order = np.random.default_rng(_SHUFFLE).permutation(len(clear))
    sentences, y = Texts(clear), np.array(list(clear.values()), np.int64)
    test, train = order[:_TEST], order[_TEST:]
    return Raw(sentences[train], y[train], sentences[test], y[test], classes=CLASSES)
