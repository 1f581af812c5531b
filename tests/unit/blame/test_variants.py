"""Files between all-float and all-int8 of nets whose grids move when a layer is float again."""

import numpy as np
import pytest

from compress.blame.variants import integer_layers, mixed
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.nets import build_net
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from tests.unit.export.nets import inputs, quantized, random_model


@pytest.mark.parametrize("write", [to_onnx, to_tflite])
def test_any_layer_before_a_pooling_can_be_float(write):
    layers = [{"conv": 8}, {"max_pool": 2}, {"block": 8}, {"max_pool": 2}, {"conv": 12}]
    model = random_model(build_net("sequence", {"layers": layers}, (1, 12, 12), 4))
    found = quantized(model, inputs(model))
    real = fold_batch_norm(drop_quantizers(found))
    names = integer_layers(found)

    for name in names:
        made = mixed(real, found, set(names) - {name})
        assert set(integer_layers(made)) == set(names) - {name}
        for node in made.graph:
            if node.op == "quantize":
                assert np.isfinite(made.weights[f"{node.name}.scale"])
        assert write(made, name="x")
