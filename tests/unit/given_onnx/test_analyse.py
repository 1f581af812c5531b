"""Where a float graph spends its time."""

from compress.given_onnx.analyse import profile, time_shares
from tests.unit.onnx_file import nets


def events(ts, conv, add):
    node = [{"cat": "Node", "ts": ts + 1, "dur": conv, "args": {"op_name": "Conv"}},
            {"cat": "Node", "ts": ts + 2, "dur": add, "args": {"op_name": "Add"}},
            {"cat": "Node", "ts": ts + 2, "dur": 99, "args": {"op_name": "If"}}]  # fmt: skip
    return [*node, {"cat": "Session", "name": "model_run", "ts": ts, "dur": conv + add}]


def test_the_first_run_which_warms_up_does_not_count():
    assert time_shares([*events(0, 10, 990), *events(1000, 30, 10), *events(2000, 30, 10)]) == {
        "Conv": 0.75,
        "Add": 0.25,
    }


def test_onnx_runtime_says_when_each_run_begins():
    shares = profile(nets.conv_net().SerializeToString(), {"x": nets.images(1)}, runs=1)
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert any("Conv" in name for name in shares)
