"""Generated nets: short stacks of every operator, odd and even sizes, strides, paddings, groups; and branching ones."""

from hypothesis import strategies as st

from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.shapes import infer_shapes
from tests.unit.export.nets import Net


@st.composite
def models(draw: st.DrawFn, *, padded_average: bool = True) -> Model:
    """A net with random weights. padded_average: may hold an average pooling that TFLite cannot express."""
    net = Net(draw(st.integers(1, 4)), draw(st.integers(5, 10)), draw(st.integers(5, 10)))
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(("conv", "depthwise", "residual", "max_pool", "avg_pool", "relu", "relu6")))
        channels, height, width = net.shape
        k = draw(st.integers(1, min(3, height, width)))
        stride = draw(st.integers(1, 2))
        pad = draw(st.integers(0, k // 2))
        bias = draw(st.booleans())
        if kind == "conv":
            groups = 2 if channels % 2 == 0 and draw(st.booleans()) else 1
            net.conv(2 * draw(st.integers(1, 4)), k, stride, pad, groups, bias=bias)
            if draw(st.booleans()):
                net.add("batch_norm", channels=net.shape[0], eps=1e-5)
        elif kind == "depthwise":
            net.conv(channels * draw(st.integers(1, 2)), k, stride, pad, channels, bias=bias)
        elif kind == "residual":
            x = net.last
            net.conv(channels, 3, 1, 1, bias=bias)
            net.add("add", net.last, x)
        elif kind in ("max_pool", "avg_pool"):
            net.pool(kind, k, stride, pad if kind == "max_pool" or padded_average else 0)
        else:
            net.add(kind)
        if kind in ("conv", "depthwise", "residual") and draw(st.booleans()):
            net.add(draw(st.sampled_from(("relu", "relu6"))))
    net.add(draw(st.sampled_from(("global_avg_pool", "flatten"))))
    if draw(st.booleans()):
        net.linear(6, bias=draw(st.booleans()))
        net.add("relu")
    net.linear(5, bias=draw(st.booleans()))
    return net.model(draw(st.integers(0, 99)))


@st.composite
def branching_models(draw: st.DrawFn) -> Model:
    """A net whose nodes read any earlier tensor: the image and others several times, or never.

    Kernels and strides have two sizes, strides may be wider than the kernel, images may be a single pixel.
    """
    net = Net(draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    for _ in range(draw(st.integers(1, 7))):
        shapes = infer_shapes(Graph(tuple(net.nodes), net.last))
        x = draw(st.sampled_from(list(shapes)))
        alike = [name for name, shape in shapes.items() if shape == shapes[x]]
        kind = draw(st.sampled_from(("conv", "depthwise", "max_pool", "avg_pool", "relu", "relu6", "add")))
        if kind == "add":
            net.add("add", x, draw(st.sampled_from(alike)))
        elif kind in ("relu", "relu6"):
            net.add(kind, x)
        else:
            _window(draw, net, kind, x, shapes[x])
    net.add(draw(st.sampled_from(("global_avg_pool", "flatten"))))
    net.linear(draw(st.integers(1, 5)), bias=draw(st.booleans()))
    return net.model(draw(st.integers(0, 99)))


def _window(draw: st.DrawFn, net: Net, kind: str, x: str, shape: tuple[int, ...]) -> None:
    channels, *size = shape
    kernel = [draw(st.integers(1, min(4, n))) for n in size]
    window = {"kernel": kernel, "stride": [draw(st.integers(1, 3)) for _ in size],
              "padding": [0 if kind == "avg_pool" else draw(st.integers(0, k // 2)) for k in kernel]}  # fmt: skip
    if kind.endswith("pool"):
        net.add(kind, x, **window)
        return
    groups = channels if kind == "depthwise" else 1
    out = channels * draw(st.integers(1, 2)) if kind == "depthwise" else draw(st.integers(1, 6))
    net.add("conv2d", x, in_channels=channels, out_channels=out, groups=groups, bias=draw(st.booleans()), **window)
    if draw(st.booleans()):
        net.add("batch_norm", channels=out, eps=1e-5)
    if draw(st.booleans()):
        net.add(draw(st.sampled_from(("relu", "relu6"))))
