"""Recordings that all tests of studies share."""

from __future__ import annotations

import pytest

from tests import short
from tests.study import small


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    """Folder of twenty clips with emotions and concepts."""
    return small.recordings(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module", autouse=True)
def _pictures():
    """Half of the time of so small a study would be figures. test_demo.py draws them."""
    with short.undrawn():
        yield
