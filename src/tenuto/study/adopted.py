"""Systems of a study that are models from elsewhere: adopted where the others are trained."""

from __future__ import annotations

from collections.abc import Sequence

from tenuto.attacks import Protocol
from tenuto.config import AdoptedConfig, AdoptedModel, RunConfig, StudyConfig
from tenuto.data import Prepared
from tenuto.errors import ConfigError, TenutoError
from tenuto.evaluation.adoption import offered

SEED = "{seed}"
"""Stands for the seed in the name of a model that was trained several times."""


def seeds_of(study: StudyConfig, system: str) -> tuple[int, ...]:
    """The seeds of a system: all of the study, or for one adopted model the first of them."""
    model = study.systems[system].adopted
    return study.seeds if model is None or SEED in model.source else study.seeds[:1]


def unidentified(model: AdoptedModel, seed: int) -> AdoptedConfig:
    """The description of the model with this seed, without its identity."""
    content = model.model_dump(exclude_none=True)
    return AdoptedConfig(**{**content, "source": model.source.replace(SEED, str(seed)), "kind": ""})


def identified(
    configs: Sequence[RunConfig], data: Prepared, attacks: Sequence[Protocol], trust: bool
) -> list[RunConfig]:
    """The configurations, those of adopted models with the identity of the model, which is opened.

    Args:
        configs: Of all runs.
        data: Of the study.
        attacks: What every run is attacked with.
        trust: Whether the code of the adopted models is trusted.

    Raises:
        ConfigError: A protocol that cannot be used on a model, or systems that predict different emotions.
        TrustError: Code that was not named on this machine.
        TenutoError: A model that cannot be adopted.
    """
    rated = data.index.emotions if any(config.adopted is None for config in configs) else None
    result = []
    for config in configs:
        if config.adopted is not None:
            try:
                config, emotions = offered(config.adopted, config.system, trust).configuration(
                    data, config.data, config.train.seed, config.train.threads
                )
                assert config.adopted is not None
                for attack in attacks:
                    attack.members(len(emotions), config.adopted.differentiable)
            except TenutoError as error:
                raise type(error)(f"system {config.system}: {error}") from error
            rated = rated or emotions
            if emotions != rated:
                raise ConfigError(
                    f"system {config.system}: predicts {', '.join(emotions)} of the rated emotions, other systems of "
                    f"the study predict {', '.join(rated)}. Systems that are compared must predict the same emotions; "
                    "judge this one in a study of its own."
                )
        result.append(config)
    return result
