"""Every way in which a file that came from elsewhere can be wrong, and what the user is told."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import ModelError
from compress.onnx_file.open import open_onnx
from tests.unit.onnx_file import nets


def test_a_sound_file_and_a_folder_as_optimum_writes_it(tmp_path):
    path = nets.save(tmp_path / "model.onnx", nets.conv_net())

    given, same = open_onnx(path), open_onnx(tmp_path)

    assert given.name == tmp_path.name
    assert given.sha256 == same.sha256
    assert given.size_bytes == path.stat().st_size


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file_is_named(tmp_path, conv_file, keep):
    whole = conv_file.read_bytes()
    conv_file.write_bytes(whole[:keep] if keep >= 0 else whole[:-40])

    with pytest.raises(ModelError, match=r"no ONNX file, or cut off|holds no graph|breaks the ONNX standard"):
        open_onnx(conv_file)


def test_not_onnx_at_all_and_not_there(tmp_path):
    (tmp_path / "a.onnx").write_text("PK\x03\x04 no model")
    with pytest.raises(ModelError, match="no ONNX file"):
        open_onnx(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="there is no such file"):
        open_onnx(tmp_path / "b.onnx")


def test_a_folder_with_two_files_wants_one_named(tmp_path):
    for name in "ab":
        nets.save(tmp_path / f"{name}.onnx", nets.dense_net())
    with pytest.raises(ModelError, match=r"the folder holds a\.onnx, b\.onnx"):
        open_onnx(tmp_path)


def external(tmp_path, location="weights.bin", **more):
    """A net whose first weight stands in a file of its own."""
    net = nets.conv_net()
    tensor = net.graph.initializer[0]
    data = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    facts = {"location": location, "offset": "0", "length": str(len(data)), **more}
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "net").mkdir(exist_ok=True)
    return nets.save(tmp_path / "net" / "model.onnx", net), data


def test_external_data_beside_the_file_is_read(tmp_path):
    path, data = external(tmp_path)
    (path.parent / "weights.bin").write_bytes(data)

    given = open_onnx(path)

    assert numpy_helper.to_array(given.model.graph.initializer[0]).tobytes() == data
    assert given.size_bytes == path.stat().st_size + len(data)


def test_external_data_that_is_missing_or_cut_off(tmp_path):
    path, data = external(tmp_path)
    with pytest.raises(ModelError, match=r"its external data 'weights\.bin' is missing\n  fix: copy weights\.bin into"):
        open_onnx(path)
    (path.parent / "weights.bin").write_bytes(data[:-8])
    with pytest.raises(ModelError, match="is cut off: it should reach to byte"):
        open_onnx(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", ""])
def test_external_data_outside_the_folder_is_never_read(tmp_path, location):
    path, data = external(tmp_path, location)
    (tmp_path / "secret.bin").write_bytes(data)

    with pytest.raises(ModelError, match="outside the model's folder"):
        open_onnx(path)


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    path, data = external(tmp_path)
    (tmp_path / "secret.bin").write_bytes(data)
    (path.parent / "weights.bin").symlink_to(tmp_path / "secret.bin")

    with pytest.raises(ModelError, match="outside the model's folder"):
        open_onnx(path)


@pytest.mark.parametrize(("offset", "length"), [("-4", "8"), ("x", "8"), ("0", "-8")])
def test_external_data_with_impossible_places(tmp_path, offset, length):
    path, data = external(tmp_path, offset=offset, length=length)
    (path.parent / "weights.bin").write_bytes(data)
    with pytest.raises(ModelError, match="is cut off"):
        open_onnx(path)


def test_a_custom_domain_is_named_with_its_operator(tmp_path):
    nodes = [helper.make_node("FancyNorm", ["x"], ["y"], domain="acme.nn")]
    net = nets.model(nodes, [nets.info("x", [1, 4])], [nets.info("y", [1, 4])], domains=["acme.nn"])

    with pytest.raises(ModelError, match=r"operators that ONNX Runtime does not bring: acme\.nn::FancyNorm"):
        open_onnx(nets.save(tmp_path / "a.onnx", net))


def test_an_operator_that_the_standard_does_not_know(tmp_path):
    net = nets.model([helper.make_node("Frobnicate", ["x"], ["y"])], [nets.info("x", [1])], [nets.info("y", [1])])
    with pytest.raises(ModelError, match=r"breaks the ONNX standard: .*Frobnicate"):
        open_onnx(nets.save(tmp_path / "a.onnx", net))


def test_a_file_that_is_quantized_already(tmp_path):
    scale = nets.constant("s", np.float32(0.1))
    zero = nets.constant("z", np.uint8(0))
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]  # fmt: skip
    net = nets.model(nodes, [nets.info("x", [1])], [nets.info("y", [1])], [scale, zero])
    with pytest.raises(ModelError, match=r"quantized already \(QuantizeLinear\)"):
        open_onnx(nets.save(tmp_path / "a.onnx", net))


def test_more_than_two_gigabytes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    from compress.onnx_file import open as room

    path, _ = external(tmp_path)
    with (path.parent / "weights.bin").open("wb") as f:
        f.truncate(2_100_000_000)  # sparse: no bytes on disk
    monkeypatch.setattr(room.hashlib, "sha256", None)  # would be the first to read it

    with pytest.raises(ModelError, match=r"it is 2\.1 GB with its weights"):
        open_onnx(path)


def test_functions_of_the_file_itself_are_no_strangers(tmp_path):
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    net = nets.model([helper.make_node("Twice", ["x"], ["y"], domain="own")], [nets.info("x", [2])],
                     [nets.info("y", [2])], domains=["own"])  # fmt: skip
    net.functions.append(function)
    onnx.save(net, tmp_path / "a.onnx")

    assert open_onnx(tmp_path / "a.onnx").model.functions[0].name == "Twice"
