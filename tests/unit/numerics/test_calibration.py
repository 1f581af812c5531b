import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.errors import DataError
from compress.numerics.calibration import Histogram, entropy_range, minmax_range, percentile_range


def histogram(*batches):
    h = Histogram.empty()
    for batch in batches:
        h.add(np.float32(batch))
    return h


@given(
    st.lists(
        hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=5
    )
)
def test_no_value_is_lost_however_the_range_grows(batches):
    h = histogram(*batches)
    values = np.concatenate(batches)

    assert h.counts.sum() == values.size
    assert minmax_range(h) == (values.min(), values.max())


def test_percentile_cuts_the_tails_and_only_them():
    values = np.concatenate([np.linspace(0, 1, 9990), np.full(10, 50.0)])
    low, high = percentile_range(histogram(values), 99.8)

    assert low == 0.0
    assert 0.9 < high < 1.2


def test_percentile_100_is_minmax():
    h = histogram([-3.0, 0.5, 7.0])

    assert percentile_range(h, 100.0) == minmax_range(h)


def test_entropy_clips_a_lone_outlier_but_not_a_uniform_tensor():
    normal = np.random.default_rng(0).normal(0, 1, 100_000)
    _, with_outlier = entropy_range(histogram(np.append(normal, 100.0)))
    low, high = entropy_range(histogram(np.linspace(-1, 1, 100_000)))

    assert with_outlier < 25
    assert (low, high) == pytest.approx((-1, 1), abs=0.1)


@pytest.mark.parametrize("method", [minmax_range, entropy_range, lambda h: percentile_range(h, 99.9)])
def test_a_tensor_that_is_zero_throughout_has_a_range_and_no_warning(method):
    """A dead layer's output: pytest turns numpy's warnings into errors."""
    assert method(histogram(np.zeros(100), np.zeros(100))) == (0.0, 0.0)


def test_a_one_sided_tensor_stays_one_sided():
    low, high = entropy_range(histogram(np.abs(np.random.default_rng(0).normal(0, 1, 10_000))))

    assert low >= 0.0
    assert high > 1.0


def test_nan_is_refused():
    with pytest.raises(DataError, match="an activation is not finite"):
        histogram([1.0, np.nan])
