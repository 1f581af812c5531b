import numpy as np
import pytest

from compress.errors import ModelError
from compress.evaluate import predict
from compress.evaluate.predict import logits_of

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (11, 4, 4), dtype=np.uint8)


def test_logits_come_in_order_and_do_not_depend_on_how_they_were_batched(make_bundle, monkeypatch):
    folder = make_bundle(layers=2)
    whole = logits_of(folder, IMAGES)
    monkeypatch.setattr(predict, "BLOCK", 4)

    assert (whole.shape, whole.dtype) == ((11, 3), np.float32)
    np.testing.assert_allclose(logits_of(folder, IMAGES), whole, rtol=1e-5)
    np.testing.assert_allclose(logits_of(folder, IMAGES[7:8]), whole[7:8], rtol=1e-5)


def test_no_examples_a_damaged_bundle_and_wrong_examples_are_refused_in_words(make_bundle):
    folder = make_bundle()
    with pytest.raises(ModelError, match="there are no examples to run"):
        logits_of(folder, IMAGES[:0])
    with pytest.raises(ModelError, match=r"examples of shape \(4,\)"):
        logits_of(folder, IMAGES[0])
    (folder / "model.onnx").write_bytes(b"half a fi")
    with pytest.raises(ModelError, match=r"model\.onnx") as caught:
        logits_of(folder, IMAGES)
    assert caught.value.fix == "copy the bundle again, whole"
    with pytest.raises(ModelError, match="no such folder"):
        logits_of(folder / "nowhere", IMAGES)


def test_a_model_that_overflows_is_refused(make_bundle):
    with pytest.raises(ModelError, match=r"NaN or infinite|not finite"):
        logits_of(make_bundle(layers=120), IMAGES)
