"""Settings of training: how long and on what loss, and how it is made robust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from tenuto.settings import Config, Count, Name, Seed, Weight, real, whole

Size = Annotated[float, real(0, 1e6, above=True)]


class AdversarialConfig(Config):
    """When and how training clips are attacked (the study, section on adversarial training)."""

    every: Count = Field(5, description="attack in every n-th epoch")
    iterations: Count = 50
    step_size: Annotated[float, real(0, 1000, above=True)] = 0.002
    measure: Literal["corr", "mse"] = "corr"
    optimizer: Literal["Adam", "SGD"] = "Adam"


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
            names = ", ".join(name for name in cls.model_fields if name in value)
            raise ValueError(f"{names} needs a method of robust training. Choose one, such as `robust=fast`")
        return value


def check_one_way(adversarial: bool, robust: RobustConfig | None) -> None:
    """Refuse two ways of training for robustness. Raises `ValueError`."""
    if adversarial and robust is not None:
        raise ValueError(
            "`adversarial` and `robust` are two ways to train and cannot be combined. Leave one of them out"
        )


JOINT = "joint"
"""How a bottleneck is trained where nothing else is set; written as None."""


def bottleneck_settings(settings: Any) -> Any:
    """Settings with ``bottleneck`` in its stored form, and the weight that training concepts alone has."""
    if not isinstance(settings, Mapping):
        return settings
    if settings.get("bottleneck") in (None, JOINT):
        return {key: value for key, value in settings.items() if key != "bottleneck"}
    return {"task_loss_weight": 0.0, **settings}


def check_bottleneck_settings(bottleneck: str | None, weight: float, adversarial: bool) -> None:
    """Refuse settings of joint training for another bottleneck. Raises `ValueError`."""
    if bottleneck is not None and weight != 0:
        raise ValueError(
            f"task_loss_weight is {weight:g}, but bottleneck {bottleneck} trains concepts alone: leave it out"
        )
    if bottleneck is not None and adversarial:
        raise ValueError(
            f"adversarial training attacks the emotions, which bottleneck {bottleneck} does not train: leave one out"
        )


class TrainConfig(Config):
    """How it is trained."""

    seed: Seed = 0
    task_loss_weight: Weight = 1.0
    learning_rate: Annotated[float, real(0, 100, above=True)] = 5e-4
    batch_size: Annotated[int, whole(2, 1_000_000)] = 8
    epochs: Count = 199
    patience: Count = 50
    select: Literal["correlation", "mae", "loss"] | None = Field(
        None, description="what chooses the checkpoint on the validation clips; None is correlation"
    )
    drop_last_evaluated: StrictBool = Field(
        False, description="score validation on whole batches only, as the study did"
    )
    score_free_units: StrictBool = Field(
        False, description="let units that never saw a concept be scored as concepts, as the study did"
    )
    adversarial: AdversarialConfig | None = None
    robust: RobustConfig | None = Field(
        None, description="another way to train for robustness, in every epoch"
    )
    average: Annotated[float, real(0, 0.99999, above=True)] | None = Field(
        None, description="decay of a moving average of the weights, which replaces the last ones"
    )
    bottleneck: Literal["sequential", "independent"] | None = Field(
        None,
        description="how the layer from concepts to emotions is found: None trains it jointly with the rest; "
        "otherwise concepts alone are trained (task_loss_weight is 0), and it is fitted by least squares on predicted "
        "(sequential) or true (independent) concepts of the training clips",
    )
    threads: Annotated[int, whole(0, 1024)] = Field(
        0, description="CPU threads; 0 means all cores and is resolved before hashing"
    )
    precision: Literal["auto", "bfloat16", "tf32"] | None = Field(
        None,
        description="of updates and training attacks; None is float32, auto is bfloat16 where the processor computes "
        "natively, else float32, and is resolved before hashing; tf32 needs a GPU",
    )

    @field_validator("select", mode="before")
    @classmethod
    def _plain_selection(cls, value: Any) -> Any:
        return None if value == "correlation" else value

    @field_validator("precision", mode="before")
    @classmethod
    def _plain_precision(cls, value: Any) -> Any:
        return None if value == "float32" else value

    @model_validator(mode="before")
    @classmethod
    def _concepts_alone(cls, value: Any) -> Any:
        return bottleneck_settings(value)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_one_way(self.adversarial is not None, self.robust)
        check_bottleneck_settings(self.bottleneck, self.task_loss_weight, self.adversarial is not None)
        return self
