"""Recordings that all tests of studies share."""

from __future__ import annotations

import pytest

from tests.study import small


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    """Folder of twenty clips with emotions and concepts."""
    return small.recordings(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module", autouse=True)
def _pictures():
    """Figures are built but not drawn: half of the time of so small a study. test_demo.py draws them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "matplotlib.figure.Figure.savefig", lambda figure, stream, **options: stream.write(b"x")
        )
        yield
