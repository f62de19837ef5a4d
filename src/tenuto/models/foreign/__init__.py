"""Models from elsewhere: Python code, TorchScript, torch.export and ONNX files, opened as modules that predict."""

from tenuto.models.foreign.code import import_named
from tenuto.models.foreign.identity import Identity, identify, weights_sha256
from tenuto.models.foreign.opening import ForeignModel, open_foreign

__all__ = ["ForeignModel", "Identity", "identify", "import_named", "open_foreign", "weights_sha256"]
