"""A small real reference: scikit-learn's digits, and logits of the class means that they were learnt from."""

import numpy as np
import pytest
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.statistics import Statistics
from sklearn.datasets import load_digits


class Digits:
    """x: (n, 1, 8, 8) preprocessed. logits: (n, 10) of a nearest-mean classifier. y: (n,)."""

    def __init__(self):
        raw, self.y = load_digits(return_X_y=True)
        self.raw = raw.reshape(-1, 8, 8).astype(np.uint8)
        self.preprocessing = Preprocessing(
            "image", height=8, width=8, channels=1, scale=1 / 16, mean=(0.3,), std=(0.4,)
        )
        self.x = self.preprocessing(self.raw)
        flat = self.x.reshape(len(self.x), -1)
        self.means = np.stack([flat[:1000][self.y[:1000] == c].mean(axis=0) for c in range(10)])
        self.logits = self.answer(self.x)

    def answer(self, x):
        flat = x.reshape(len(x), -1)
        return (-0.1 * ((flat[:, None] - self.means) ** 2).sum(axis=2)).astype(np.float32)


@pytest.fixture(scope="session")
def digits():
    return Digits()


@pytest.fixture(scope="session")
def statistics(digits):
    return Statistics.of(digits.x[:1000], digits.logits[:1000], kind="image")


@pytest.fixture
def stream(digits):
    """Feeds n examples, drawn with replacement from those that the reference has seen, to a monitor."""

    def feed(monitor, n, *, change=lambda x: x, seed=0, latency_ms=1.0):
        picked = np.random.default_rng(seed).integers(0, 1000, n)
        x = change(digits.x[picked])
        logits = digits.answer(x)
        ids = []
        for i in range(n):
            ids += monitor.seen(x[i : i + 1], logits[i : i + 1], latency_ms)
        return ids, logits, digits.y[picked]

    return feed
