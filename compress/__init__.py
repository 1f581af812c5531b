"""compress: from a trained teacher to a measured, deployable edge bundle."""

__version__ = "0.1.0"
