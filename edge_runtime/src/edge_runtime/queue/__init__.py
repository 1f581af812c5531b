"""Learn from the field: keep the inputs that are worth a label, export them, take the labels back."""

from __future__ import annotations

from edge_runtime.queue.queue import PRIVACY, Item, Queue, forget, read_items
from edge_runtime.queue.select import pick, uncertainty

__all__ = ["PRIVACY", "Item", "Queue", "forget", "pick", "read_items", "uncertainty"]
