"""The comparison with the alternatives: same float model, same calibration data, same test set, latencies in turns.

    python -m benchmarks.peers              # everything, from nothing: environments, models, measurements, tables
    python -m benchmarks.peers --help

docs/peers.md holds the method and the tables this writes.
"""
