"""A model as one folder, in the layout of a Hugging Face model repository: what `tenuto export` writes."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tenuto.errors import CheckpointError, FileError
from tenuto.files import SafetensorsFile, read_json, sha256_file
from tenuto.settings import value_text
from tenuto.store.folder import BaseFolder, File
from tenuto.store.run import is_file

MODEL_FORMAT = "tenuto-model-1"


class ModelFolder(BaseFolder):
    """The files of an exported model. Nothing is read or created when it is made.

    Args:
        path: The folder, which need not exist yet.
    """

    config = File("config.json")
    """What the model is, and the SHA-256 of its weights."""
    weights = File("model.safetensors")
    """Weights, and what is needed to predict with them: a checkpoint."""
    card = File("README.md")
    """The model card."""
    settings = File("run.yaml")
    """The resolved configuration with which it was trained."""

    def exists(self) -> bool:
        """Whether there is an exported model here."""
        return is_file(self.config) and is_file(self.weights)

    def is_own(self) -> bool:
        """Whether an export, perhaps an interrupted one, wrote these files."""
        with contextlib.suppress(FileError):
            if read_json(self.config).get("format") == MODEL_FORMAT:
                return True
        with contextlib.suppress(FileError):
            return "tenuto" in SafetensorsFile(self.weights).metadata
        return False

    def checked_weights(self) -> Path:
        """The file of weights. Raises `CheckpointError` where it is not the one that ``config.json`` describes."""
        try:
            about = read_json(self.config)
            if about.get("format") != MODEL_FORMAT:
                raise CheckpointError(
                    f"{self.config}: its format is {value_text(about.get('format'))}, it must be {MODEL_FORMAT}. Name "
                    "a folder that `tenuto export` made."
                )
            expected, actual = str(about.get("weights_sha256")), sha256_file(self.weights)
        except FileError as error:
            raise CheckpointError(f"{error} The model is damaged: export or install it again.") from error
        if actual != expected:
            raise CheckpointError(
                f"{self.weights}: is damaged (SHA-256 {actual[:8]}, expected: {expected[:8]}). Export or install the "
                "model again."
            )
        return self.weights
