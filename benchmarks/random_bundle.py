"""A bundle around a net with random weights: for benchmarks in which only time and files matter."""

from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.preprocessing import Preprocessing

from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.model.module import initial_model
from compress.model.nets import build_net
from compress.model.rewrite import fold_batch_norm

SIDE, CLASSES = 28, 10


def random_bundle(folder: Path, net: str, arguments: dict[str, Any], seed: int) -> Path:
    """An ONNX bundle for 28 x 28 images."""
    model = fold_batch_norm(initial_model(build_net(net, arguments, (1, SIDE, SIDE), CLASSES), seed))
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE), np.uint8)
    write_bundle(
        folder, name=net, task="image-classification", labels=[str(i) for i in range(CLASSES)],
        preprocessing=Preprocessing("image", height=SIDE, width=SIDE, channels=1, scale=1 / 255),
        files={"onnx": to_onnx(model, name=net)}, precision="float32", reference_inputs=images,
    )  # fmt: skip
    return folder
