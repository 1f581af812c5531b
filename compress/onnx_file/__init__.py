"""Float ONNX files that somebody else made: opened or refused, and brought up to date."""
