"""Query, key and value as one product: the same numbers, a third of the operators."""

import numpy as np
import onnx
import pytest

from compress.export.counts import count_onnx, count_tflite
from compress.export.joined import JOINT, join_projections
from compress.export.lowering import lower
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.stages.placement import place_quantizers
from tests.unit.export.test_text import dynamic, ids, in_onnx, in_torch, lively, quantized
from tests.unit.export.test_text_tflite import in_tflite

PARTS = ["layer1_query", "layer1_key", "layer1_value"]


def steps_of(model):
    return {s.name: s for s in join_projections(lower(model)).steps}


@pytest.mark.parametrize("make", [lambda m: m, quantized, dynamic])
def test_their_rows_stand_below_each_other(make):
    model = make(lively())
    steps, before = steps_of(model), {s.name: s for s in lower(model).steps}
    both, parts = steps[JOINT.join(PARTS)], [before[n] for n in PARTS]

    assert not set(PARTS) & set(steps)
    assert steps["layer1_attention"].inputs[0] == both.output
    assert len(steps["layer1_attention"].inputs) == 2
    np.testing.assert_array_equal(both.parameters.weight[16:], np.concatenate([s.parameters.weight for s in parts[1:]]))
    if both.parameters.scale is not None:  # integers stay, and the factor of the scores is in their unit
        np.testing.assert_array_equal(both.parameters.weight[:16], parts[0].parameters.weight)
        np.testing.assert_allclose(both.parameters.scale[:16], parts[0].parameters.scale / 2, rtol=1e-6)
    else:
        np.testing.assert_allclose(both.parameters.weight[:16], parts[0].parameters.weight / 2, rtol=1e-6)


def test_each_layer_is_counted_by_its_own_name():
    model = quantized(lively())
    for count, data in ((count_onnx, to_onnx(model, name="t")), (count_tflite, to_tflite(model, name="t"))):
        kernels = count(data).layer_kernels
        assert {"float"} & {kernels[n] for n in PARTS} == set()
        assert not any(JOINT in name for name in kernels)
    assert sum(n.op_type == "Gemm" for n in onnx.load_from_string(to_onnx(model, name="t")).graph.node) == 9


def test_a_layer_of_another_kind_keeps_the_three_apart():
    model = lively()
    chosen = [n.name for n in model.graph.layers if n.name != "layer1_key"]
    placed, _ = place_quantizers(model.graph, chosen, 8)
    made = quantized(model)
    names = {n.name for n in placed if n.op == "quantize"} | set(chosen)
    weights = {k: v for k, v in made.weights.items() if k in model.weights or k.rsplit(".", 1)[0] in names}
    mixed = Model(placed, weights)

    assert set(PARTS) <= set(steps_of(mixed))
    assert "layer2_query|layer2_key|layer2_value" in steps_of(mixed)
    for kernels, got in (
        (count_onnx(to_onnx(mixed, name="t")).layer_kernels, in_onnx(to_onnx(mixed, name="t"), ids())),
        (count_tflite(to_tflite(mixed, name="t", lengths=(9,))).layer_kernels,
         in_tflite(to_tflite(mixed, name="t", lengths=(9,)), ids())),
    ):  # fmt: skip
        assert (kernels["layer1_key"], kernels["layer1_query"] == "float") == ("float", False)
        assert np.abs(got - in_torch(mixed, ids())).max() < 0.15
