"""A server on this machine for tests of downloads."""

from __future__ import annotations

import pytest

from tests.data.osf_server import OsfServer


@pytest.fixture
def no_proxy(monkeypatch):
    """Whatever proxy the environment names, this machine is reached directly."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def server(no_proxy):
    """A server that speaks the OSF API and holds no file."""
    with OsfServer() as running:
        yield running
