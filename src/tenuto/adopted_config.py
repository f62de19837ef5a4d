"""Settings of a model from elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from tenuto.settings import Config, Rating, first_repeated, real, whole


class AdoptedModel(Config):
    """A model from elsewhere as its user describes it: where it is, what it takes and what its outputs mean."""

    source: str = Field(description="package.module:function, file.py:function, a model file, or a class")
    output: str | None = Field(
        None, description="key, attribute or index of the predictions in what it returns"
    )
    emotions: tuple[str, ...] = Field(min_length=1)
    concepts: tuple[str, ...] = Field((), description="outputs that follow those of the emotions")
    scale: tuple[Rating, Rating] = (0.0, 1.0)
    takes: Literal["waveform", "log-spectrogram", "features"] = "waveform"
    sample_rate: Annotated[int, whole(1000, 192_000)] = 22_050
    seconds: Annotated[float, real(0, 300, above=True)] = 10.0
    front_end: str | None = Field(None, description="function that makes features of a waveform")
    normalisation: tuple[Rating, Rating] | None = Field(
        None, description="mean and deviation of the log spectrogram; None: of the training clips"
    )
    pooling: Literal["mean", "median"] = "mean"

    @field_validator("output", mode="before")
    @classmethod
    def _index_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = (*self.emotions, *self.concepts)
        if (twice := first_repeated(names)) is not None:
            raise ValueError(f"the output {twice} is named twice. Rename one")
        low, high = self.scale
        if not low < high:
            raise ValueError(f"scale {low:g} to {high:g}: the lower end must be below the upper end")
        if (self.takes == "features") != (self.front_end is not None):
            raise ValueError("a front_end belongs to takes features, and features need one")
        if self.takes == "log-spectrogram" and (self.sample_rate, self.seconds) != (22_050, 10.0):
            raise ValueError(
                "the log spectrogram has 22 050 Hz and 10 seconds: leave out sample_rate and seconds"
            )
        if self.normalisation is not None and (self.takes != "log-spectrogram" or self.normalisation[1] <= 0):
            raise ValueError("normalisation is a mean and a positive deviation, for takes log-spectrogram")
        return self


class AdoptedConfig(AdoptedModel):
    """The same with its identity, which is known once it was opened."""

    kind: str = Field(description="module, callable, torchscript, export or onnx")
    version: str | None = None
    source_sha256: str | None = None
    weights_sha256: str | None = None
    front_end_sha256: str | None = None
    differentiable: StrictBool = True

    @property
    def is_object(self) -> bool:
        """Whether the model or its front end was given as a Python object, so that only Python can open the run."""
        parts = (self.source if self.kind in ("module", "callable") else None, self.front_end)
        return any(part is not None and ":" not in part for part in parts)
