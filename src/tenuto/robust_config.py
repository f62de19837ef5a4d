"""Settings of robust training: the method, and how far it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tenuto.settings import Config, Count, Name, real

Size = Annotated[float, real(0, 1e6, above=True)]


class RobustConfig(Config):
    """How every update is made robust (`tenuto.training.robust`); in YAML the bare name of a method with its defaults.

    A setting that the method does not have is refused when training begins.
    """

    method: Name
    sigma: Size | None = Field(None, description="standard deviation of the noise")
    epsilon: Size | None = Field(
        None, description="L-infinity: standard deviations of the log spectrogram, or amplitude of waveforms"
    )
    db: Annotated[float, real(-200, 200)] | None = Field(
        None, description="signal-to-noise ratio, of waveforms"
    )
    steps: Count | None = Field(None, description="of the attack on a batch")
    step_size: Size | None = Field(None, description="in the unit of the budget, None: from budget and steps")
    replays: Count | None = Field(None, description="updates on the same batch")
    weight: Annotated[float, real(0, 1e6)] | None = Field(
        None, description="of the change of the prediction, next to the loss"
    )
    domain: Literal["waveform"] | None = Field(None, description="what is perturbed; None is the spectrogram")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"method": value}
        if isinstance(value, Mapping) and value.keys() & cls.model_fields.keys() and "method" not in value:
            given = ", ".join(name for name in cls.model_fields if name in value)
            raise ValueError(f"{given} needs a method of robust training. Choose one, such as `robust=fast`")
        return value
