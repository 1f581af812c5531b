"""What a cache key holds of a model's origin: whatever changes the model must change it."""

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.factory import allowing_code
from compress.model import python
from compress.model.from_onnx import read_onnx_model
from compress.recipe.schema import TeacherConfig
from compress.run.models import origin_inputs
from compress.run.walk import Walk
from tests.unit.model.text_folders import write_bert


def write_onnx(folder, factor, *, beside):
    """logits = x w; beside: the weight is in a file of its own."""
    w = numpy_helper.from_array(np.full((4, 3), factor, np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["logits"])], "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "w.bin").unlink(missing_ok=True)
    outside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0} if beside else {}
    onnx.save(model, str(folder / "m.onnx"), **outside)


@pytest.mark.parametrize("beside", [False, True])
def test_an_onnx_file_counts_with_the_weights_that_it_keeps_in_other_files(tmp_path, beside):
    found = []
    for factor in (1.0, 2.0, 1.0):
        write_onnx(tmp_path, factor, beside=beside)
        os.utime(tmp_path / "m.onnx", ns=(0, 0))  # a clock too coarse to tell the files apart
        key = origin_inputs(TeacherConfig(onnx=str(tmp_path / "m.onnx")), None, 0)
        found.append((key, read_onnx_model(tmp_path / "m.onnx", (4,)).digest()))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_how_an_encoder_is_pooled_counts(tmp_path):
    write_bert(tmp_path, kind="BertModel")
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    found = []
    for first in (False, True):
        pooling.write_text(json.dumps({"pooling_mode_cls_token": first}))
        found.append(origin_inputs(TeacherConfig(hf=str(tmp_path)), None, 0))
    assert found[0] != found[1]


def test_what_a_function_makes_counts_where_the_plan_knows_nothing_of_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walk = SimpleNamespace(
        plan=SimpleNamespace(input_shape=None, classes=None),
        data=SimpleNamespace(input_shape=(4,), classes=("no", "yes")),
        recipe=SimpleNamespace(seed=0),
    )
    found = []
    for width in (3, 5):
        body = f"return nn.Sequential(nn.Linear(4, {width}), nn.Linear({width}, 2))"
        (tmp_path / "net_for_a_key.py").write_text(
            f"from torch import nn\n\ndef net():\n    {body}\n# {width:{width}}\n"
        )
        sys.modules.pop("net_for_a_key", None)
        python._built.cache_clear()  # as in a new process
        with allowing_code():
            found.append(Walk._origin(walk, TeacherConfig(python="net_for_a_key:net")))
    assert found[0]
    assert found[0] != found[1]
