"""The released attack equals the reference on every golden case."""

from __future__ import annotations

import numpy as np
import pytest

COMPLETE = (
    "corr_Adam_10",
    "corr_Adam_50",
    "corr_Adam_200",
    "corr_SGD_50",
    "mse_Adam_10",
    "mse_Adam_50",
    "mse_Adam_200",
    "mse_SGD_50",
    "zero_corr_Adam_50",
    "zero_alpha5_corr_Adam_200",
    "two_corr_SGD_400",
)
PREDICTION_ONLY = ("alpha5_corr_Adam_50",)


def test_the_golden_files_hold_the_expected_cases(golden):
    assert set(golden) == {*COMPLETE, *PREDICTION_ONLY}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_case_has_every_field(golden, name):
    fields = {"best_delta", "last_prediction", "norm", "iterations", "converged", "threshold"}
    assert set(golden[name].expected) == fields


def test_the_alpha_case_has_perturbation_and_prediction(golden):
    assert set(golden["alpha5_corr_Adam_50"].expected) == {"best_delta", "last_prediction"}


@pytest.mark.parametrize("name", COMPLETE + PREDICTION_ONLY)
@pytest.mark.parametrize("batch_size", [None, 1], ids=["one batch", "one by one"])
def test_equals_the_reference(golden, name, batch_size):
    case = golden[name]
    assert case.differences(case.run(batch_size=batch_size)) == set()


def test_clean_prediction_equals_the_reference(golden, golden_arrays):
    expected = golden_arrays["reference_attack"]["clean_prediction"]
    result = golden["corr_Adam_10"].run().clean_prediction.numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
