"""Watch a model at work: counts, drift against the bundle's reference, alarms, and accuracy once labels arrive."""

from __future__ import annotations

from edge_runtime.monitor.monitor import Monitor
from edge_runtime.monitor.rules import Alarm, Limit
from edge_runtime.monitor.store import MonitorError

__all__ = ["Alarm", "Limit", "Monitor", "MonitorError"]
