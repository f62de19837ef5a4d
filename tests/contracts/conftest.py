"""What the contract over attacks attacks."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.attack_families import examples, shaped


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _budget(request):
    """The budget that a test is parametrized by, if any."""
    return request.getfixturevalue("budget") if "budget" in request.fixturenames else None


@pytest.fixture
def inputs(request):
    return examples(_budget(request))[0]


@pytest.fixture
def labels():
    return examples(None)[1]


@pytest.fixture
def excerpts(request):
    generator = torch.Generator().manual_seed(6)
    values, labels = torch.randn(2, 1, 313, 149, generator=generator), torch.rand(2, 8, generator=generator)
    return shaped(values, _budget(request)), labels
