"""The ratio of two latencies from paired blocks, and how sure it is. Pure functions of numbers."""

from collections.abc import Sequence

import numpy as np

from compress.comparison import Interval

Blocks = Sequence[Sequence[float]]  # by process, then by block: ms per inference
RESAMPLES = 2000
# Two-sided 5 % points of Student's t with 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def paired_ratio(reference: Blocks, this: Blocks, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, Interval]:
    """How many times faster `this` is than `reference` (2.0: half the time), with a 95 % interval.

    Block i of a process in `reference` was timed next to block i in `this`. The estimate is the geometric mean over
    processes of each process's median block ratio: the median shrugs off a disturbed block, and processes count alike
    however many blocks they had.

    The interval is a bootstrap in two stages, processes and then blocks within each, because blocks of one process
    share its memory layout and are no independent witnesses. Few processes say little about how processes differ, and
    a plain bootstrap of three ignores that, so the deviations are widened by Student's t over the normal quantile and
    by sqrt(P / (P - 1)). Source: Hesterberg 2015, The American Statistician 69(4), 371-386, section 4.3 (expanded
    percentile interval). With a single process the interval holds for that process only.
    """
    logs = [np.log(np.asarray(a, float) / np.asarray(b, float)) for a, b in zip(reference, this, strict=True)]
    rng = np.random.default_rng(seed)
    medians = np.array([np.median(x[rng.integers(len(x), size=(resamples, len(x)))], axis=1) for x in logs])
    count = len(logs)
    chosen = rng.integers(count, size=(resamples, count))
    drawn = medians[chosen, rng.integers(resamples, size=chosen.shape)].mean(axis=1)
    estimate = float(np.mean([np.median(x) for x in logs]))
    low, high = np.quantile(drawn - estimate, (0.025, 0.975)) * widening(count)
    return float(np.exp(estimate)), (float(np.exp(estimate + low)), float(np.exp(estimate + high)))


def widening(processes: int) -> float:
    """Factor by which a bootstrap over this many processes is too narrow; 1 for a single one."""
    if processes < 2:
        return 1.0
    freedom = processes - 1
    t = STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96 + 2.5 / freedom
    return float(t / 1.96 * np.sqrt(processes / freedom))
