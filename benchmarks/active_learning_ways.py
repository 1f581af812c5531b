"""Other ways to choose which sentences to label: does any save labels where the queue's own choice shows no saving?

    python benchmarks/active_learning_ways.py --movies vaderSentiment-3.3.2.tar.gz

Pool, learner and counting are those of benchmarks/active_learning.py. Each way chooses the next 50 from the learner's
own logits and the frozen embeddings:

queue     what the device keeps by: most uncertain by margin and most novel, unlike each other
margin    the smallest margins alone
diverse   weighted k-means over the 500 smallest margins (Zhdanov 2019), without novelty
badge     k-means++ over gradient embeddings (Ash et al. 2020)
cluster   the smallest margins taken in turn from 100 clusters of the pool (Citovsky et al. 2021, Cluster-Margin)
typical   margin times mean similarity to the pool (information density, Settles and Craven 2008)
mixed     half by margin, half by chance

The way is chosen on 2,000 validation sentences taken out of the pool, with seeds of their own (10 to 14): the one that
gains most accuracy over chance in the mean over the curve. Then that way and chance, with seeds 0 to 4, are judged once
on the test sentences. Writes benchmarks/results/active_learning_ways.json.
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from active_learning import (
    BATCH,
    FIRST,
    LAST,
    SEEDS,
    TARGETS,
    Pool,
    Rows,
    as_the_queue,
    at_random,
    curve,
    interval,
    movies,
    needed,
    smooth,
)
from edge_runtime.queue.select import pick, uncertainty
from numpy.typing import NDArray

from compress.benchmark.host import host_facts

RESULTS = Path(__file__).parent / "results" / "active_learning_ways.json"
WAYS = ("queue", "margin", "diverse", "badge", "cluster", "typical", "mixed")
CHOOSING_SEEDS = (10, 11, 12, 13, 14)
STRENGTH, CLUSTERS, SHORTLIST = 2.0, 100, 500


def choose(
    x: NDArray[np.float32], scores: NDArray[np.float64], rest: Rows, rng: np.random.Generator,
    *, way: str, clusters: Rows,
) -> Rows:  # fmt: skip
    """BATCH of the rows x (n, d) that are not yet labelled; scores (n,): the learner's logit; rest: their rows in the
    pool, of which `clusters` tells the groups."""
    logits = np.stack([-scores / 2, scores / 2], axis=1).astype(np.float32)
    margin = np.abs(scores)
    if way == "random":
        return at_random(x, scores, rest, rng)
    if way == "queue":
        return as_the_queue(x, scores, rest, rng)
    if way == "margin":
        return np.argsort(margin)[:BATCH]
    if way == "diverse":
        short = np.argsort(margin)[:SHORTLIST]
        return short[pick(uncertainty(logits)[short], x[short], BATCH)]
    if way == "badge":
        p = 1 / (1 + np.exp(-margin))
        return plus_plus((1 - p)[:, None] * x, rng)
    if way == "cluster":
        short = np.argsort(margin)[: 10 * BATCH]
        return in_turn(short, clusters[rest[short]])
    if way == "typical":
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        density = unit @ unit.mean(axis=0)
        return np.argsort(-(1 / (1 + np.exp(margin))) * np.maximum(density, 0))[:BATCH]
    if way == "mixed":
        half = np.argsort(margin)[: BATCH // 2]
        rest = np.setdiff1d(np.arange(len(x)), half)
        return np.concatenate([half, rng.choice(rest, BATCH - len(half), replace=False)])
    raise ValueError(way)


def plus_plus(points: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    """Seeding of k-means++ (Arthur and Vassilvitskii 2007), from the longest vector on."""
    chosen = [int(np.argmax((points**2).sum(axis=1)))]
    nearest = np.full(len(points), np.inf)
    for _ in range(BATCH - 1):
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
    return np.array(chosen)


def in_turn(rows: Rows, clusters: Rows) -> Rows:
    """From the smallest cluster to the largest, one each, round after round, until there are BATCH."""
    groups = [rows[clusters == c].tolist() for c in np.unique(clusters)]
    groups.sort(key=len)
    out: list[int] = []
    while len(out) < BATCH:
        for group in groups:
            if group and len(out) < BATCH:
                out.append(group.pop(0))
    return np.array(out)


def curves(pool: Pool, ways: tuple[str, ...], seeds: tuple[int, ...]) -> dict[str, list[list[float]]]:
    from sklearn.cluster import MiniBatchKMeans

    clusters = MiniBatchKMeans(CLUSTERS, random_state=0, n_init=1).fit_predict(pool[0])
    out = {}
    for way in ways:
        started = time.monotonic()
        this = functools.partial(choose, way=way, clusters=clusters)
        out[way] = [curve(pool, this, seed, STRENGTH) for seed in seeds]
        print(f"{way:8} mean {np.mean(out[way]):.4f}, at {LAST} {np.mean(out[way], axis=0)[-1]:.4f}, "
              f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
    return out


def gains(found: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Accuracy over chance, seed by seed, in the mean over the curve."""
    chance = np.mean(found["random"], axis=1)
    return {way: interval((np.mean(rows, axis=1) - chance).tolist()) for way, rows in found.items() if way != "random"}


def saved(found: dict[str, list[list[float]]], way: str) -> list[dict[str, Any]]:
    """Labels that a way needs to reach what chance reaches on average with so many."""
    out, steps = [], list(range(FIRST, LAST + 1, BATCH))
    for count in TARGETS:
        target = float(np.mean([smooth(c)[steps.index(count)] for c in found["random"]]))
        labels = {how: [needed(c, target) for c in found[how]] for how in ("random", way)}
        shares = [1 - q / r for q, r in zip(labels[way], labels["random"], strict=True)]
        if np.isfinite([*labels[way], *labels["random"]]).all():
            out.append({"random_labels": count, "accuracy": round(target, 4), "needed": labels,
                        "saved": interval(shares)})  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=Path, required=True, metavar="SDIST", help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="where the embeddings are kept")
    options = parser.parse_args()
    x, y, x_test, y_test = movies(options.movies, options.cache)
    order = np.random.default_rng(1).permutation(len(x))
    validation, pool = order[:2000], order[2000:]
    trial = curves((x[pool], y[pool], x[validation], y[validation]), ("random", *WAYS), CHOOSING_SEEDS)
    on_validation = gains(trial)
    best = max(on_validation, key=lambda way: on_validation[way]["mean"])
    print(f"on validation: {on_validation}\nchosen: {best}", flush=True)
    judged = curves((x[pool], y[pool], x_test, y_test), ("random", best), SEEDS)
    doc = {
        "command": "python benchmarks/active_learning_ways.py --movies vaderSentiment-3.3.2.tar.gz",
        "pool": len(pool), "labels": list(range(FIRST, LAST + 1, BATCH)),
        "validation": {"curves": trial, "gain_over_chance": on_validation}, "chosen": best,
        "test": {"curves": judged, "gain_over_chance": gains(judged)[best], "targets": saved(judged, best)},
        "host": host_facts(),
    }  # fmt: skip
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")
    print(json.dumps({k: doc["test"][k] for k in ("gain_over_chance", "targets")}, indent=1))


if __name__ == "__main__":
    main()
