import os

import pytest

from compress.data.sources import open_data
from compress.model.module import initial_model
from compress.model.nets import build_net
from compress.recipe.schema import DataConfig, TrainConfig
from compress.stages.base import Context, run_stage
from compress.stages.train import train

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny nets: a second thread costs more than it brings


@pytest.fixture(scope="session")
def digits():
    """A third of the digits, 8x8: an epoch of a tiny net takes 30 ms."""
    return open_data(DataConfig(source="digits", limit=600, calibration=64), 0).load().without_test()


@pytest.fixture(scope="session")
def fresh(digits):
    """An untrained residual net of 1,500 parameters."""
    return initial_model(build_net("resnet8", {"widths": [4, 8, 8]}, digits.input_shape, 10), 0)


@pytest.fixture(scope="session")
def trained(digits):
    """A net that has learnt the digits, wide enough to be pruned; also a teacher for tiny ones."""
    model = initial_model(build_net("resnet8", {"widths": [8, 16, 16]}, digits.input_shape, 10), 0)
    config = TrainConfig(epochs=6, batch_size=32, learning_rate=0.02)
    return run_stage(train, model, config, Context(0, digits), where="train").model
