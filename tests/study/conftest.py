"""Recordings that all tests of studies share."""

from __future__ import annotations

import pytest

from tests.study import small


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    """Folder of twenty clips with emotions and concepts."""
    return small.recordings(tmp_path_factory.mktemp("music"))
