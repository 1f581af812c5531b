import numpy as np
import pytest

from tests.unit.onnx_file import nets


@pytest.fixture
def conv_file(tmp_path):
    return nets.save(tmp_path / "net.onnx", nets.conv_net())


@pytest.fixture
def image_data(tmp_path):
    path = tmp_path / "calib.npz"
    np.savez(path, x=nets.images())
    return path
