"""ONNX files that somebody else made: open, check, bring up to date, analyse, quantize, and prove what came of it."""
