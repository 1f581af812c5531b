"""What is wrong with a layer's stored numbers, seen beside the float ones. Pure functions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.blame.tensors import sqnr_db

_OFF = 0.1  # relative: a factor this far from 1 is no rounding
_UNEXPLAINED = 0.03  # of a channel's power: a wrong scale leaves little besides
_POOR_DB = 20.0  # of weights: 8 bits with a scale a channel give 35 to 50
CLIPPED = 0.02  # share of outputs beyond the grid


@dataclass(frozen=True, slots=True)
class Stored:
    """weight_sqnr_db, zero_channels, gain: see compress.blamed.LayerBlame; findings: in words."""

    weight_sqnr_db: float
    zero_channels: int
    gain: float | None
    findings: tuple[str, ...]


def stored(real: NDArray[np.float32], found: NDArray[np.float32]) -> Stored:
    """Judge stored weights (out, ...) against the float ones of the same shape."""
    a, b = (w.reshape(len(w), -1).astype(np.float64) for w in (real, found))
    zeroed = ~b.any(axis=1) & (np.abs(a).max(axis=1) > 1e-6 * np.abs(a).max(initial=0.0)) & a.any(axis=1)
    power = (a * a).sum(axis=1)
    gains = np.divide((a * b).sum(axis=1), power, out=np.ones(len(a)), where=power > 0)
    alive = (power > 0) & ~zeroed
    findings = []
    if zeroed.any():
        findings.append(f"{int(zeroed.sum())} of {len(a)} output channels are stored as zeros")
    rest = ((b - gains[:, None] * a) ** 2).sum(axis=1)  # what the factor does not explain
    wrong = alive & (np.abs(gains - 1) > _OFF) & (rest < _UNEXPLAINED * gains**2 * power)
    if wrong.any():
        middle = float(np.median(gains[wrong]))
        findings.append(f"{int(wrong.sum())} of {len(a)} channels are {middle:.3g} times the true weights: wrong scale")
    level = sqnr_db(a, b)
    if level < _POOR_DB and not findings:
        findings.append(f"weights stand only {level:.0f} dB above their rounding error; 8 bits give 35 and more")
    gain = float(np.median(gains[alive])) if alive.any() else None
    return Stored(level, int(zeroed.sum()), gain, tuple(findings))


def clipped(outputs: NDArray[np.float32], scale: float, zero_point: int, floor: float | None) -> float:
    """Share of float outputs outside their grid. floor: values below it are cut off by the activation anyway."""
    low, high = -zero_point * scale, (255 - zero_point) * scale
    slack = scale  # a value within one step of the end is rounding
    above = outputs > high + slack
    below = (outputs < low - slack) & (outputs > (floor if floor is not None else -np.inf))
    return float((above | below).mean())


def clip_finding(share: float) -> tuple[str, ...]:
    """In words, where it is much."""
    return (f"{100 * share:.1f} % of its outputs lie beyond its grid: clipped range",) if share > CLIPPED else ()
