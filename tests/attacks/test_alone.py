"""`tenuto.attacks` works in an environment that has only torch, NumPy and Tenuto itself."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import tenuto

SCRIPT = """
import importlib.util
import torch
from tenuto.attacks import APGD, Linf

for name in ("scipy", "pandas", "pydantic", "matplotlib", "soundfile"):
    assert importlib.util.find_spec(name) is None, name
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
x, y = torch.rand(2, 1, 4, 3) / 16, torch.rand(2, 3)
adversarial = APGD(Linf(0.05))(network, x, y).adversarial
assert (adversarial - x).abs().max() <= 0.05 * (1 + 1e-6)
"""


def required(names: list[str]) -> dict[str, Distribution]:
    """The installed distributions of these names, and of all that they require here."""
    closed: dict[str, Distribution] = {}
    while names:
        name = names.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError:  # required on another system, or by an extra
            continue
        if package.name not in closed:
            closed[package.name] = package
            needs = [need for need in package.requires or () if "extra ==" not in need]
            names += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs]
    return closed


def test_an_attack_needs_torch_and_numpy_alone(tmp_path):
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (folder,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    for package in required(["torch", "numpy"]).values():
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(package.locate_file(top))))
    (folder / "tenuto").symlink_to(Path(tenuto.__file__).parent)
    python = tmp_path / "env" / "bin" / Path(sys.executable).name
    ended = subprocess.run([python, "-I", "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
