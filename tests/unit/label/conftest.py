"""An exported queue, as edge-runtime writes it: digits with hostile class names, texts, or windows."""

import numpy as np
import pytest
from edge_runtime.monitor import Monitor
from edge_runtime.monitor.reference import Reference
from edge_runtime.monitor.store import Store
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.queue.export import export_queue
from edge_runtime.statistics import Statistics
from edge_runtime.window import WindowPreprocessing

from compress.readers.labelled import open_queue

LABELS = ("zero", "<img src=x onerror=alert(1)>", "=two", *(f"class {i}" for i in range(3, 12)))


def _write(folder, kind, preprocessing, raw, x, texts=None, keep="raw"):
    logits = np.random.default_rng(1).normal(size=(len(x), len(LABELS))).astype(np.float32)
    statistics = Statistics.of(x, logits, kind=kind)
    path = folder / "monitor.sqlite"
    with Monitor(statistics, path, keep=keep, background=False, share=1.0) as monitor:
        monitor.reference = Reference("field <model>", LABELS, statistics, preprocessing)
        monitor.seen(x, logits, 1000.0, raw=texts)
    store = Store(path)
    export_queue(store, folder / "out")
    store.close()
    return open_queue(folder / "out")


@pytest.fixture
def make(tmp_path):
    """An open queue of 6 items of a kind; and the raw examples."""

    def new(kind="image", n=6, keep="raw"):
        generator = np.random.default_rng(0)
        if kind == "image":
            preprocessing = Preprocessing(
                "image", height=8, width=8, channels=1, scale=1 / 255, mean=(0.4,), std=(0.3,)
            )
            raw = generator.integers(0, 256, (n, 8, 8), np.uint8)
            return _write(tmp_path, kind, preprocessing, raw, preprocessing(raw), keep=keep), raw
        if kind == "window":
            preprocessing = WindowPreprocessing(length=20, channels=3)
            raw = generator.normal(size=(n, 20, 3)).astype(np.float32)
            return _write(tmp_path, kind, preprocessing, raw, preprocessing(raw)), raw
        texts = [f"sentence {i} </p><script>alert({i})</script>" for i in range(n)]
        return _write(tmp_path, kind, None, texts, generator.integers(1, 90, (n, 5)), texts), texts

    return new
