import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.parity import ParityError, check_parity

REFERENCE = np.linspace(-20, 20, 40, dtype=np.float32).reshape(4, 10)


def test_equal_and_nearly_equal_logits_pass() -> None:
    check_parity({"PyTorch": REFERENCE})
    check_parity({"PyTorch": REFERENCE, "ONNX": REFERENCE, "SavedModel": REFERENCE + 5e-5})


@given(
    st.integers(0, 3),
    st.integers(0, 9),
    st.one_of(st.floats(0.01, 1e6), st.just(float("nan")), st.just(float("inf"))),
)
def test_one_wrong_logit_is_found(image: int, label: int, by: float) -> None:
    wrong = REFERENCE.copy()
    wrong[image, label] += by
    with pytest.raises(ParityError, match="PyTorch and SavedModel disagree: 1 of 4 images"):
        check_parity({"PyTorch": REFERENCE, "TorchScript": REFERENCE, "SavedModel": wrong})


def test_the_message_names_the_largest_difference() -> None:
    wrong = REFERENCE.copy()
    wrong[1, 2] += 0.5
    wrong[2, 3] -= 2
    with pytest.raises(ParityError, match=r"2 of 4 .* largest difference is 2\. "):
        check_parity({"PyTorch": REFERENCE, "ONNX": wrong})


def test_other_shapes_are_no_parity() -> None:
    with pytest.raises(ParityError, match="shape"):
        check_parity({"PyTorch": REFERENCE, "ONNX": REFERENCE[:, :1]})
