"""Drawings: axes, scatter charts, time series, bars and curves."""
