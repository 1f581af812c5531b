import numpy as np
import pytest
from edge_runtime import load
from edge_runtime.edge_operators import WARM_RUNS, arithmetic, delegated, operators, rows_of, verdict

from tests.edge_runtime.engines_here import with_onnx

EXAMPLE = np.zeros((4, 5))


@with_onnx
def test_onnx_runtime_tells_what_it_runs_and_how_long(make_bundle):
    with load(make_bundle("onnx"), engine="onnx") as model:
        found = operators(model, EXAMPLE, 1)

    assert "profiler" in found["how"]
    assert found["runs"] >= WARM_RUNS
    (product,) = [r for r in found["rows"] if "Gemm" in r["op"]]
    assert (product["arithmetic"], product["provider"]) == ("float", "CPUExecutionProvider")
    assert sum(r["share"] for r in found["rows"]) == pytest.approx(1.0)


@with_onnx
def test_an_int8_file_that_computes_in_float_is_found_out(make_bundle):
    with load(make_bundle("onnx-uint8"), engine="onnx") as model:
        found = operators(model, EXAMPLE, 1)

    assert {r["arithmetic"] for r in found["rows"] if "Gemm" in r["op"]} == {"float"}
    assert any(text.startswith("1 of 1 products run in float: ") for text in verdict("int8", found))


def test_litert_tells_no_times_but_what_the_delegate_took(make_bundle):
    with load(make_bundle("tflite-int8"), engine="tflite") as model:
        found = operators(model, EXAMPLE, 1)

    assert "gives Python no time of single operators" in found["how"]
    assert [(r["op"], r["arithmetic"], r["us"]) for r in found["rows"] if r["op"] == "FULLY_CONNECTED"] == [
        ("FULLY_CONNECTED", "integer", None)
    ]
    assert {r["provider"] for r in found["rows"]} <= {"XNNPACK", "built-in"}


def node(index, op, inputs, outputs):
    return {"index": index, "op_name": op, "inputs": inputs, "outputs": outputs}


def test_what_lies_between_a_delegates_ends_is_its_own():
    chain = [node(0, "A", [0], [1]), node(1, "B", [1], [2]), node(2, "C", [2], [3]), node(3, "D", [3], [4])]

    assert delegated([*chain, node(4, "DELEGATE", [1], [3])]) == {1, 2}
    assert delegated([*chain, node(4, "DELEGATE", [0], [2]), node(5, "DELEGATE", [3], [4])]) == {0, 1, 3}
    assert delegated(chain) == set()


def event(name, us, op="Conv", kind="float"):
    args = {"op_name": op, "provider": "CPUExecutionProvider", "input_type_shape": [{kind: [1]}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": args}


def test_warm_up_and_interrupted_runs_do_not_count():
    events = [event("a", us) for us in [999] * WARM_RUNS + [3] * 60 + [1000] * 10]
    events += [event("b", 1, "QuantizeLinear") for _ in range(90)] + [{"cat": "Session", "name": "run", "dur": 1}]

    first, second = rows_of(events)

    assert (first["name"], first["us"], first["share"], first["arithmetic"]) == ("a", 3.0, 0.75, "float")
    assert (second["us"], second["arithmetic"]) == (1.0, "conversion")


def test_what_fell_back_to_float_is_named():
    rows = rows_of([event("s", 6), event("b", 2, "QLinearConv", "uint8"), event("q", 2, "QuantizeLinear")])
    alone = [{"op": "CUSTOM", "arithmetic": "integer", "provider": "built-in", "share": None, "name": "0"}]

    assert verdict("int8", {"rows": rows}) == [
        "the time goes to s (Conv, float) 60 %, b (QLinearConv, integer) 20 %, q (QuantizeLinear, conversion) 20 %",
        "20 % goes into converting between float and integer",
        "1 of 2 products run in float: s",
    ]
    assert verdict("float32", {"rows": alone}) == ["1 of 1 operators are not taken by XNNPACK: CUSTOM"]


def test_arithmetic_is_told_by_what_goes_in():
    assert arithmetic("CONV_2D", ["int8", "int8", "int32"]) == "integer"
    assert arithmetic("CONV_2D", ["float32", "int8"]) == "float"  # hybrid: weights alone are int8
    assert arithmetic("DEQUANTIZE", ["int8"]) == "conversion"
