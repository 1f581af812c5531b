"""Exported files of one or several runs against each other, on the same test examples."""
