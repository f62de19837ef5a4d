"""Configuration: one frozen model per stage, read from YAML or built from flags, hashed into a signature.

An unknown key is refused and the nearest valid one named; nothing is silently ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, StrictBool, field_serializer, field_validator, model_validator

from tenuto.adopted_config import AdoptedConfig as AdoptedConfig, AdoptedModel as AdoptedModel
from tenuto.data_config import (
    CONCEPT_SOURCES as CONCEPT_SOURCES,
    SPLITS as SPLITS,
    DataConfig as DataConfig,
    FolderConfig as FolderConfig,
    is_split_file as is_split_file,
)
from tenuto.devices import fast_bfloat16
from tenuto.errors import ConfigError, did_you_mean
from tenuto.files import read_text
from tenuto.settings import (
    Config as Config,
    Name,
    Seed,
    Weight,
    first_repeated,
    parse_yaml as parse_yaml,
    real,
    value_text,
    whole,
)
from tenuto.train_config import (
    JOINT,
    AdversarialConfig as AdversarialConfig,
    RobustConfig as RobustConfig,
    TrainConfig as TrainConfig,
    bottleneck_settings,
    check_bottleneck_settings,
    check_one_way,
)


class ModelConfig(Config):
    """Which network is trained."""

    network: Name = "a2e"
    width: Annotated[float, real(0, 4, above=True)] = 1.0


class RunConfig(Config):
    """Everything that decides the numbers of one run."""

    system: str = Field("A2E", description="a label that follows from the rest, see `named`")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    adopted: AdoptedConfig | None = Field(None, description="the model, where it was not trained by Tenuto")

    def named(self) -> RunConfig:
        """The same, called by the study's name of this network, weight and training, or by a descriptive one.

        A method of robust training follows that name, as in ``A2E_fast``.
        """
        train, network = self.train, self.model.network
        adversarial = train.adversarial is not None
        if train.bottleneck is not None:
            name = f"{'A2M2E' if network == 'a2m2e' else network}_{train.bottleneck}"
        else:
            own = System(network=network, task_loss_weight=train.task_loss_weight, adversarial=adversarial)
            names = [name for name, system in SYSTEMS.items() if system == own]
            name = names[0] if names else f"{'a' if adversarial else ''}{network}_w{train.task_loss_weight:g}"
        method = "" if train.robust is None else f"_{train.robust.method}"
        return self.model_copy(update={"system": f"{name}{method}"})

    def resolved(self) -> RunConfig:
        """The same with machine-dependent defaults filled in."""
        values: dict[str, Any] = {"threads": self.train.threads or os.cpu_count() or 1}
        if self.train.precision == "auto":
            values["precision"] = "bfloat16" if fast_bfloat16() else None
        return self.model_copy(update={"train": self.train.model_copy(update=values)})


class CorpusConfig(Config):
    """The synthetic corpus a study makes for itself."""

    clips: Annotated[int, whole(15, 100_000)] = 360
    seconds: Annotated[float, real(11, 3600)] = 15.0
    seed: Seed = 0


class AttackConfig(Config):
    """A protocol and the settings in which a study deviates from it; in YAML its bare name where there are none."""

    protocol: str
    settings: dict[str, int | float | str | bool] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"protocol": value} if isinstance(value, str) else value


class System(Config):
    """A named combination of network, loss and training, or a model from elsewhere."""

    network: Name = "adopted"
    task_loss_weight: Weight = 1.0
    adversarial: StrictBool = False
    robust: RobustConfig | None = None
    bottleneck: Literal["sequential", "independent"] | None = None
    adopted: AdoptedModel | None = None

    @model_validator(mode="before")
    @classmethod
    def _concepts_alone(cls, value: Any) -> Any:
        return bottleneck_settings(value)

    @model_validator(mode="after")
    def _is_trained_or_adopted(self) -> Self:
        check_one_way(self.adversarial, self.robust)
        check_bottleneck_settings(self.bottleneck, self.task_loss_weight, self.adversarial)
        settings = {"network", "task_loss_weight", "adversarial", "robust", "bottleneck"}
        trained = self.model_fields_set & settings
        if self.adopted is None and self.network == "adopted":
            raise ValueError("needs a network to train, or a model to be adopted (`adopted`)")
        if self.adopted is not None and trained:
            raise ValueError(f"an adopted model is not trained: leave out {', '.join(sorted(trained))}")
        return self


def _settings_of(system: System) -> dict[str, Any]:
    """A system as a study file has it."""
    content = system.model_dump(mode="json", exclude_none=True)
    return content if system.adopted is None else {"adopted": content["adopted"]}


SYSTEMS: dict[str, System] = {
    "A2E": System(network="a2e", task_loss_weight=1.0, adversarial=False),
    "A2B2E": System(network="a2m2e", task_loss_weight=1.0, adversarial=False),
    "A2M2E": System(network="a2m2e", task_loss_weight=0.5, adversarial=False),
    "aA2E": System(network="a2e", task_loss_weight=1.0, adversarial=True),
    "aA2B2E": System(network="a2m2e", task_loss_weight=1.0, adversarial=True),
}
"""The five systems, in the order of the study's first table."""


class StudyConfig(Config):
    """Systems x seeds x protocols on one data set.

    What is set under ``run`` holds for every run; its ``train.adversarial`` for the systems that are trained so.
    """

    systems: dict[str, System] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1)
    corpus: CorpusConfig | None = None
    run: RunConfig = RunConfig()
    protocols: tuple[AttackConfig, ...] = Field((AttackConfig(protocol="paper-2025-released"),), min_length=1)
    natural: Literal["natural-1", "natural-2"] | None = Field(
        None,
        description="natural variation that every run is measured under; natural-2 is measured with natural-1. "
        "None is natural-1 where a protocol has several budgets",
    )

    @field_validator("systems", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """Known systems are a list of names; a mapping defines others: ``mine: {network: a2m2e}``."""
        if isinstance(value, Mapping):
            return {name: cls._system(name, settings) for name, settings in value.items()}
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"must be a list of names. Valid: {', '.join(SYSTEMS)}")
        if twice := first_repeated(value):
            raise ValueError(f"{twice} is listed twice in systems. Remove one")
        return {name: cls._system(name, None) for name in value}

    @staticmethod
    def _system(name: Any, settings: Any) -> Any:
        if name in SYSTEMS and settings in (None, SYSTEMS[name], _settings_of(SYSTEMS[name])):
            return SYSTEMS[name]
        if name in SYSTEMS:
            raise ValueError(
                f"system {name!r} is one of the study's own, which take no settings: choose another name for a system "
                "with settings. Seeds hold for all systems"
            )
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
            raise ValueError(
                f"system {value_text(name)} cannot be defined: choose a name of letters, digits and underscores"
            )
        if settings is None:
            raise ValueError(f"system {name!r} is unknown. {did_you_mean(name, SYSTEMS)}")
        return settings

    @field_serializer("systems")
    def _as_written(self, systems: dict[str, System]) -> Any:
        if all(name in SYSTEMS for name in systems):
            return list(systems)
        return {name: None if name in SYSTEMS else _settings_of(system) for name, system in systems.items()}

    @model_validator(mode="after")
    def _no_seed_is_listed_twice(self) -> Self:
        if (twice := first_repeated(self.seeds)) is not None:
            raise ValueError(f"{twice} is listed twice in seeds. Remove one")
        return self

    @model_validator(mode="after")
    def _decided_once(self) -> Self:
        settings, untouched = self.run, RunConfig()
        if settings.train.seed != untouched.train.seed:
            raise ValueError("run.train.seed is decided by seeds: leave it out of run")
        if settings.system != untouched.system:
            raise ValueError("run.system is decided by systems: leave it out of run")
        weight = settings.train.task_loss_weight
        if (settings.model.network, weight) != (untouched.model.network, untouched.train.task_loss_weight):
            raise ValueError(
                "network, task_loss_weight and bottleneck are decided by systems: leave them out of run"
            )
        if settings.train.robust is not None:
            raise ValueError("run.train.robust is decided by systems: leave it out of run")
        if self.corpus is not None and settings.data.dataset != "synthetic":
            raise ValueError("a corpus is the data set synthetic: name it (`dataset`), or leave corpus out")
        return self


def signature(config: Config, fingerprint: str) -> str:
    """Eight hexadecimal digits of the whole resolved configuration and the data's fingerprint.

    Options that are off (None) do not count, so that a run keeps its name when Tenuto learns a new one.
    """
    content = json.dumps([config.model_dump(mode="json", exclude_none=True), fingerprint], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def presets() -> list[str]:
    """Names of the presets that come with Tenuto."""
    folder = resources.files("tenuto.presets")
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def studies() -> list[str]:
    """Names of the presets that are whole studies."""
    return [name for name in presets() if describes_study(name)]


def read_preset(name: str) -> dict[str, Any]:
    """Settings of one run, from a preset by name or a YAML file by path; those of a study are its part ``run``.

    Raises:
        ConfigError: No such preset, or not YAML.
        FileError: No such file.
    """
    content = _read_settings(name)
    if not _is_study(content):
        _check_parts(content, name)
        return content
    run = content.get("run") or {}
    _check_parts(run, name, "run")
    return run


def _check_parts(content: Any, source: str, place: str = "") -> None:
    """Refuse a part of the settings that is no mapping, which what is laid over it would hide."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source}: {place}: must be a mapping of settings, got {value_text(content)}.")
    for key in ("data", "model", "train"):
        if place in ("", "run") and content.get(key) is not None:
            _check_parts(content[key], source, f"{place}.{key}".lstrip("."))


def describes_study(name: str) -> bool:
    """Whether a preset or YAML file holds a whole study rather than the settings of one run."""
    return _is_study(_read_settings(name))


def _is_study(content: Mapping[str, Any]) -> bool:
    return bool(content.keys() & StudyConfig.model_fields.keys())


def preset_study(name: str) -> StudyConfig:
    """A whole study, from a preset by name or a YAML file by path. Raises as `read_preset`."""
    return StudyConfig.parse(read_study(name), name)


def read_study(name: str) -> dict[str, Any]:
    """Settings of a study as they are written, without defaults. Raises as `read_preset`."""
    content = _read_settings(name, only_studies=True)
    if "systems" not in content and content.keys() & RunConfig.model_fields.keys():
        raise ConfigError(
            f"{name}: holds the settings of one run, not a study. Add systems and seeds, and put the settings below "
            "run."
        )
    return content


def _read_settings(name: str, only_studies: bool = False) -> dict[str, Any]:
    if name.endswith((".yaml", ".yml")):
        return parse_yaml(read_text(Path(name)), name)
    if name not in presets():
        valid = studies() if only_studies else presets()
        raise ConfigError(
            f"preset {name!r} is unknown. {did_you_mean(name, valid)} Or give a path to a .yaml file."
        )
    return parse_yaml(resources.files("tenuto.presets").joinpath(f"{name}.yaml").read_text("utf-8"), name)


def preset_run(preset: str | None, system: str, seed: int) -> RunConfig:
    """One run of a named system by a preset (None: the default settings). Raises `ConfigError`."""
    if system not in SYSTEMS:
        raise ConfigError(f"system {system!r} is unknown. {did_you_mean(system, SYSTEMS)}")
    content = read_preset(preset) if preset else {}
    return RunConfig.parse(
        merge(with_system(content, system), {"train": {"seed": seed}}), preset or system
    ).named()


def with_system(
    content: Mapping[str, Any], system: str, systems: Mapping[str, System] = SYSTEMS
) -> dict[str, Any]:
    """Plain settings of a run with those of one of ``systems`` laid over them."""
    chosen = systems[system]
    robust = None if chosen.robust is None else chosen.robust.model_dump(mode="json", exclude_none=True)
    train = {
        "task_loss_weight": chosen.task_loss_weight,
        "bottleneck": chosen.bottleneck or JOINT,
        "robust": robust,
    }
    merged = merge(content, {"model": {"network": chosen.network}, "train": train})
    return with_adversarial(merged, chosen.adversarial)


def with_adversarial(content: Mapping[str, Any], adversarial: bool) -> dict[str, Any]:
    """Plain settings of a run with adversarial training switched on (its settings kept) or off."""
    train = dict(content.get("train") or {})
    train["adversarial"] = (train.get("adversarial") or {}) if adversarial else None
    return {**content, "train": train}


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML, in the order of its definition."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, mappings joined key by key, None in ``changes`` ignored."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged
