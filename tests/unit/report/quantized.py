"""A result of `compress quantize` to draw reports from. Every number in it is MADE UP, as in samples.py."""

import samples

from compress.quantize_result import ExampleFacts, Fidelity, FileRow, LayerRow, QuantizeResult, Source


def file(identity: str, size_bytes: int, artefact: int, *, verdict: str = "") -> FileRow:
    """A file with the latency of one of the sample's artefacts."""
    kernel = "float" if identity == "float" else "integer"
    fidelity = Fidelity(output="scores", values=1000, agreement=0.99, cosine=-0.5, sqnr_db=-1.5)
    return FileRow(
        id=identity, reason="ranges from examples", sha256="0" * 64, size_bytes=size_bytes, gzip_bytes=size_bytes // 2,
        kernels={"integer": 0, "dynamic-integer": 0, "float": 0, kernel: 2}, operators={"Conv": 2},
        layers=(LayerRow(name="stem", op="Conv", parameters=100, macs=0, kernel=kernel, reason="first"),),
        test=() if identity == "float" else (fidelity,),
        latency=samples.good().artefacts[artefact].latency[0], ok=not verdict, verdict=verdict,
    )  # fmt: skip


def quantized(*, shipped: str = "static", name: str = "detector") -> QuantizeResult:
    """The float file, one that ships and one that strays."""
    return QuantizeResult(
        name=name, started="2026-11-23T12:00:00+00:00", seconds=60.0, seed=0,
        source=Source(path="model.onnx", sha256="0" * 64, size_bytes=400_000, opset=17, inputs=("x",),
                      outputs=("scores",), kind="convolutions", notes=("2 of 10 nodes folded away",),
                      time_share={"Conv": 0.9}),
        examples=ExampleFacts(path="x.npz", fingerprint="f", labelled=False,
                              counts={"calibration": 100, "selection": 50, "test": 50}),
        recipe={"target": "x86-vnni", "activations": "uint8", "weights": "int8", "weight_bits": 8,
                "calibration": "minmax"},
        limits={"min_agreement": 0.98}, judge="classes", judge_reason="there are labels",
        files=(file("float", 400_000, 0), file("static", 100_000, 3),
               file("dynamic", 110_000, 4, verdict="noise of -1.5 dB (want 20 or more)")),
        failed={"static-layers": "no layer can be quantized"}, shipped=shipped, shipped_reason="2.10x as fast",
        versions={"onnxruntime": "1.99.0"}, host=samples.HOST,
    )  # fmt: skip
