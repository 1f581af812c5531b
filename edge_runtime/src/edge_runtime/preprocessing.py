"""From a raw example to a model input, by numbers that the bundle carries. Shared by training and the device."""

from __future__ import annotations
