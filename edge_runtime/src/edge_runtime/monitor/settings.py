"""A monitor's settings within their bounds, and what it calls an input that was refused."""

from __future__ import annotations

from typing import Any

from edge_runtime.errors import InputError

# Words of what preprocessing says about an input it refuses -> what the refusal is counted as.
_REFUSALS = {
    "nan": "not_finite",
    "infinite": "not_finite",
    "shape": "shape",
    "empty": "empty",
    "dtype": "dtype",
    "no such": "file",
}


def check_settings(every: Any, share: Any, interval_s: Any, window: Any, false_alarm_every: Any) -> None:
    """Raises InputError for a setting that makes no sense."""
    bounds = {"every": (every, 1, 1_000_000), "share": (share, 0.0001, 1.0), "interval_s": (interval_s, 0.05, 86400.0),
              "window": (window, 50, 100_000), "false_alarm_every": (false_alarm_every, 1e3, 1e15)}  # fmt: skip
    for name, (value, low, high) in bounds.items():
        whole = name in ("every", "window")
        if (
            isinstance(value, bool)
            or not isinstance(value, (int,) if whole else (int, float))
            or not low <= value <= high
        ):
            kind = "a whole number" if whole else "a number"
            raise InputError(f"{name} is {value!r}", "monitor", f"give {kind} from {low:g} to {high:g}")


def kind_of_refusal(error: BaseException) -> str:
    """What a call that raised is counted as."""
    if not isinstance(error, InputError):
        return type(error).__name__
    text = error.what.lower()
    return next((kind for word, kind in _REFUSALS.items() if word in text), "input")
