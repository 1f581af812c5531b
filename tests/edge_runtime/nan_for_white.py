"""A model that is fine until the picture is white: the tiny linear one plus 0 * log(gap), in the format FORM.

gap is a weighted mean distance of the pixels from white, exactly 0 for a white picture alone.
"""

import numpy as np

from tests.edge_runtime.engines_here import FORM

WEIGHT = (np.arange(60).reshape(3, 20) * 37 % 201 - 100).astype(np.float32) / 128  # as in the tiny bundle
BIAS = np.float32([0.5, -0.25, 0.125])
GAP_WEIGHT, GAP_BIAS = np.full((1, 20), -1 / 32, np.float32), np.float32([20 / 32])  # sums without rounding
ZEROS, NO_BIAS = np.zeros((3, 1), np.float32), np.zeros(3, np.float32)


def nan_for_white():
    """The file's bytes."""
    return _onnx() if FORM == "onnx" else _tflite()


def _onnx():
    from onnx import TensorProto, helper, numpy_helper

    def product(x, weight, bias, y):
        return helper.make_node("Gemm", [x, weight, bias], [y], transB=1)

    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        product("flat", "w", "b", "linear"),
        product("flat", "gap_w", "gap_b", "gap"),
        helper.make_node("Log", ["gap"], ["log"]),
        product("log", "zeros", "no_bias", "nothing"),
        helper.make_node("Add", ["linear", "nothing"], ["logits"]),
    ]
    constants = {"w": WEIGHT, "b": BIAS, "gap_w": GAP_WEIGHT, "gap_b": GAP_BIAS, "zeros": ZEROS, "no_bias": NO_BIAS}
    graph = helper.make_graph(
        nodes,
        "nan",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 4, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def _tflite():
    import flatbuffers

    try:
        from ai_edge_litert import schema_py_generated as tfl
    except ImportError:  # 32-bit ARM, where it lies alone
        import schema_py_generated as tfl

    shapes = {
        "input": [1, 4, 5, 1],
        "linear": [1, 3],
        "gap": [1, 1],
        "log": [1, 1],
        "nothing": [1, 3],
        "logits": [1, 3],
    }
    constants = {"w": WEIGHT, "b": BIAS, "gap_w": GAP_WEIGHT, "gap_b": GAP_BIAS, "zeros": ZEROS, "no_bias": NO_BIAS}
    names = [*shapes, *constants]
    kinds = (tfl.BuiltinOperator.FULLY_CONNECTED, tfl.BuiltinOperator.LOG, tfl.BuiltinOperator.ADD)
    steps = [(0, "input w b", "linear"), (0, "input gap_w gap_b", "gap"), (1, "gap", "log"),
             (0, "log zeros no_bias", "nothing"), (2, "linear nothing", "logits")]  # fmt: skip

    def made(cls, **fields):
        out = cls()
        for name, value in fields.items():
            setattr(out, name, value)
        return out

    def operator(kind, inputs, output):
        out = made(tfl.OperatorT, opcodeIndex=kind, inputs=[names.index(n) for n in inputs.split()])
        out.outputs = [names.index(output)]
        if kind == 0:
            out.builtinOptionsType = tfl.BuiltinOptions.FullyConnectedOptions
            out.builtinOptions = tfl.FullyConnectedOptionsT()
        elif kind == 2:
            out.builtinOptionsType, out.builtinOptions = tfl.BuiltinOptions.AddOptions, tfl.AddOptionsT()
        return out

    buffers = [made(tfl.BufferT, data=None) for _ in shapes]
    buffers += [made(tfl.BufferT, data=np.frombuffer(v.tobytes(), np.uint8)) for v in constants.values()]
    tensors = [made(tfl.TensorT, name=n, shape=shapes.get(n) or list(constants[n].shape), buffer=i,
                    type=tfl.TensorType.FLOAT32) for i, n in enumerate(names)]  # fmt: skip
    graph = made(tfl.SubGraphT, tensors=tensors, inputs=[0], outputs=[names.index("logits")],
                 operators=[operator(*step) for step in steps])  # fmt: skip
    codes = [made(tfl.OperatorCodeT, builtinCode=k, deprecatedBuiltinCode=k, version=1) for k in kinds]
    model = made(tfl.ModelT, version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
