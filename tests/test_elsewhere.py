"""Training and attacks on a device that is not the CPU, where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch registers no devices made in Python",
)
def test_another_device_computes_the_same():
    """In a process of its own, since a device, once registered, stays."""
    checks = Path(__file__).with_name("elsewhere_checks.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    ran = subprocess.run(command, cwd=checks.parents[1], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
