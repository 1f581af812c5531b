"""What holds for every named net."""

import pytest

from compress.model.nets import build_net
from compress.model.shapes import infer_shapes


@pytest.mark.parametrize("name", ["resnet8", "ds-cnn", "resnet9", "sequence"])
def test_on_windows_every_net_is_one_dimensional(name):
    args = {"kernel": 9} if name in ("resnet8", "ds-cnn") else {}
    graph = build_net(name, args, (6, 1, 64), 7)

    assert infer_shapes(graph)[graph.output] == (7,)
    for node in graph:
        if node.op in ("conv2d", "max_pool"):
            assert (node.attrs["kernel"][0], node.attrs["stride"][0], node.attrs["padding"][0]) == (1, 1, 0)
    assert max(n.attrs["kernel"][1] for n in graph if n.op == "conv2d") == (9 if args else 3)
