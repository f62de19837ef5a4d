"""Configuration: one frozen model per stage, read from YAML or built from flags, hashed into a signature.

An unknown key is refused and the nearest known one named; nothing is silently ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tenuto.devices import fast_bfloat16
from tenuto.errors import ConfigError, did_you_mean, one_line
from tenuto.files import read_text


class Config(BaseModel):
    """Base of every configuration: immutable, complete, strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str) -> Self:
        """Build from plain values. Raises `ConfigError` naming ``source``, the key, and the mend."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(f"{source}: {_explain(error, cls)}") from error


class AdversarialConfig(Config):
    """When and how training clips are attacked (the study, section on adversarial training)."""

    every: int = Field(5, ge=1, description="attack in every n-th epoch")
    iterations: int = Field(50, ge=1)
    step_size: float = Field(0.002, gt=0)
    measure: Literal["corr", "mse"] = "corr"
    optimizer: Literal["Adam", "SGD"] = "Adam"


class ModelConfig(Config):
    """Which network is trained."""

    network: Literal["a2e", "a2m2e"] = "a2e"
    width: float = Field(1.0, gt=0, le=4)


class FolderConfig(Config):
    """How the table beside a user's own recordings is read."""

    ratings: str = "ratings.csv"
    id_column: str = "file"
    emotions: tuple[str, ...] = Field(min_length=1)
    concepts: tuple[str, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)
    album_column: str | None = None


class DataConfig(Config):
    """Which clips, divided and cut how. Where the files lie is no part of it: their content is fingerprinted."""

    dataset: str = Field(
        "soundtracks", description="name in the registry of data sets, which is asked on opening"
    )
    concepts: Literal["signal", "midlevel"] | None = Field(
        None,
        description="signal: descriptors of the audio; midlevel: human ratings; None: what the data set has",
    )
    folder: FolderConfig | None = None
    split: Literal["paper", "album", "random"] = "paper"
    split_seed: int = 42
    excerpts: Literal["fixed", "fresh"] = "fresh"
    normalisation: Literal["train", "all"] = "train"

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_say_it(cls, values: Any) -> Any:
        """Human ratings are a property of the data set and no setting; signal concepts need no concept columns."""
        if not isinstance(values, Mapping):
            return values
        dataset, folder = values.get("dataset", "soundtracks"), values.get("folder")
        table = folder.model_dump() if isinstance(folder, FolderConfig) else folder
        if values.get("concepts") == "midlevel":
            if dataset == "folder":
                raise ValueError(
                    "concepts midlevel are ratings of Soundtracks; name the concept columns of your own table "
                    "(--concepts COLUMN,COLUMN), or use signal"
                )
            return {
                **values,
                "concepts": None,
                "dataset": "midlevel" if dataset == "soundtracks" else dataset,
            }
        if values.get("concepts") == "signal" and isinstance(table, Mapping):
            return {**values, "folder": {key: table[key] for key in table if key != "concepts"}}
        if dataset != "folder" and isinstance(table, Mapping) and set(table) == {"concepts"}:
            named = table["concepts"]
            asked = ",".join(map(str, named)) if isinstance(named, list | tuple) else str(named)
            raise ValueError(
                f"concepts {asked}: columns belong to the data set folder. {did_you_mean(asked, CONCEPT_SOURCES)}"
            )
        return values


CONCEPT_SOURCES = ("signal", "midlevel")


class TrainConfig(Config):
    """How it is trained."""

    seed: int = Field(0, ge=0)
    task_loss_weight: float = Field(1.0, ge=0, le=1)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(8, ge=2)
    epochs: int = Field(199, ge=1)
    patience: int = Field(50, ge=1)
    drop_last_evaluated: bool = Field(
        False, description="score validation on whole batches only, as the study did"
    )
    score_free_units: bool = Field(
        False, description="let units that never saw a concept be scored as concepts, as the study did"
    )
    adversarial: AdversarialConfig | None = None
    threads: int = Field(0, ge=0, description="CPU threads; 0 means all cores and is resolved before hashing")
    precision: Literal["auto", "bfloat16"] | None = Field(
        None,
        description="of updates and training attacks; None is float32, auto is bfloat16 where the processor computes "
        "in it by itself, else float32, and is resolved before hashing",
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _plain_precision(cls, value: Any) -> Any:
        return None if value == "float32" else value


class RunConfig(Config):
    """Everything that decides the numbers of one run."""

    system: str = Field("A2E", description="a label that follows from the rest, see `named`")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.model.network == "a2e" and self.train.task_loss_weight != 1.0:
            raise ValueError(
                "task_loss_weight other than 1 needs the network a2m2e: a2e has no concepts to weigh"
            )
        return self

    def named(self) -> RunConfig:
        """The same, called by the study's name of this network, weight and training, or by a descriptive one."""
        train, network = self.train, self.model.network
        adversarial = train.adversarial is not None
        wanted = System(network=network, task_loss_weight=train.task_loss_weight, adversarial=adversarial)
        known = [name for name, system in SYSTEMS.items() if system == wanted]
        name = known[0] if known else f"{'a' if adversarial else ''}{network}_w{train.task_loss_weight:g}"
        return self.model_copy(update={"system": name})

    def resolved(self) -> RunConfig:
        """The same with machine-dependent defaults filled in."""
        found: dict[str, Any] = {"threads": self.train.threads or os.cpu_count() or 1}
        if self.train.precision == "auto":
            found["precision"] = "bfloat16" if fast_bfloat16() else None
        return self.model_copy(update={"train": self.train.model_copy(update=found)})


class CorpusConfig(Config):
    """The synthetic corpus a study makes for itself."""

    clips: int = Field(360, ge=15)
    seconds: float = Field(15.0, ge=11)
    seed: int = Field(0, ge=0)


class AttackConfig(Config):
    """A protocol and the settings in which a study deviates from it; in YAML its bare name where there are none."""

    protocol: str
    settings: dict[str, int | float | str | bool] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"protocol": value} if isinstance(value, str) else value


class StudyConfig(Config):
    """Systems x seeds x protocols on one data set.

    What is set under ``run`` holds for every run; its ``train.adversarial`` for the systems that are trained so.
    """

    systems: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    corpus: CorpusConfig | None = None
    run: RunConfig = RunConfig()
    protocols: tuple[AttackConfig, ...] = Field((AttackConfig(protocol="paper-2025-released"),), min_length=1)

    @model_validator(mode="after")
    def _systems_known(self) -> Self:
        for system in self.systems:
            if system not in SYSTEMS:
                raise ValueError(f"system {system!r} is unknown. {did_you_mean(system, SYSTEMS)}")
        return self

    @model_validator(mode="after")
    def _nothing_stands_twice(self) -> Self:
        listed: dict[str, tuple[Any, ...]] = {
            "systems": self.systems,
            "seeds": self.seeds,
            "protocols": self.protocols,
        }
        for name, values in listed.items():
            if twice := [value for place, value in enumerate(values) if value in values[:place]]:
                raise ValueError(f"{getattr(twice[0], 'protocol', twice[0])} stands twice in {name}")
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
            raise ValueError("network and task_loss_weight are decided by systems: leave them out of run")
        if self.corpus is not None and settings.data.dataset != "synthetic":
            raise ValueError("a corpus is the data set synthetic: name it (--data), or leave corpus out")
        return self


class System(Config):
    """A named system of the study."""

    network: Literal["a2e", "a2m2e"]
    task_loss_weight: float
    adversarial: bool


SYSTEMS: dict[str, System] = {
    "A2E": System(network="a2e", task_loss_weight=1.0, adversarial=False),
    "A2B2E": System(network="a2m2e", task_loss_weight=1.0, adversarial=False),
    "A2M2E": System(network="a2m2e", task_loss_weight=0.5, adversarial=False),
    "aA2E": System(network="a2e", task_loss_weight=1.0, adversarial=True),
    "aA2B2E": System(network="a2m2e", task_loss_weight=1.0, adversarial=True),
}
"""The five systems, in the order of the study's first table."""


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


def read_preset(name: str) -> dict[str, Any]:
    """Settings of one run, from a preset by name or a YAML file by path; those of a study are its part ``run``.

    Raises:
        ConfigError: No such preset, or not YAML.
        FileError: No such file.
    """
    content = _read_settings(name)
    if not _is_study(content):
        return content
    run = content.get("run") or {}
    if not isinstance(run, dict):
        raise ConfigError(f"{name}: run: wanted a mapping of settings, got {run!r}.")
    return run


def describes_study(name: str) -> bool:
    """Whether a preset or YAML file holds a whole study rather than the settings of one run."""
    return _is_study(_read_settings(name))


def _is_study(content: Mapping[str, Any]) -> bool:
    return bool(content.keys() & StudyConfig.model_fields.keys())


def preset_study(name: str) -> StudyConfig:
    """A whole study, from a preset by name or a YAML file by path. Raises as `read_preset`."""
    content = _read_settings(name)
    if "systems" not in content and content.keys() & RunConfig.model_fields.keys():
        raise ConfigError(
            f"{name}: holds the settings of one run, wanted a study. Name systems and seeds, and put them below run."
        )
    return StudyConfig.parse(content, name)


def _read_settings(name: str) -> dict[str, Any]:
    if name.endswith((".yaml", ".yml")):
        return parse_yaml(read_text(Path(name)), name)
    if name not in presets():
        raise ConfigError(
            f"preset {name!r} is unknown. {did_you_mean(name, presets())} Or give a path to a .yaml file."
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


def with_system(content: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Plain settings of a run with those of a named system laid over them."""
    known = SYSTEMS[system]
    merged = merge(
        content, {"model": {"network": known.network}, "train": {"task_loss_weight": known.task_loss_weight}}
    )
    return with_adversarial(merged, known.adversarial)


def with_adversarial(content: Mapping[str, Any], wanted: bool) -> dict[str, Any]:
    """Plain settings of a run with adversarial training switched on (its settings kept) or off."""
    train = dict(content.get("train", {}))
    train["adversarial"] = (train.get("adversarial") or {}) if wanted else None
    return {**content, "train": train}


def parse_yaml(content: str, source: str) -> dict[str, Any]:
    """A YAML mapping as plain values (no tags, nothing executed). Raises `ConfigError`."""
    try:
        values = yaml.safe_load(content)
    except RecursionError as error:
        raise ConfigError(
            f"{source}: nested too deeply. Write settings as mappings of a few levels."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is an impossible date or number
        raise ConfigError(f"{source}: not YAML ({one_line(' '.join(str(error).split()))}).") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: must be a mapping of settings, got {type(values).__name__}.")
    return values


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


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One problem of a validation in a sentence: a wrong key before what is missing, which may be its other side."""
    problems = error.errors()
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in problem["loc"]) or "the settings"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, problem["loc"][:-1])
        return f"unknown key {one_line(place)}. {did_you_mean(str(problem['loc'][-1]), known)}"
    came = problem.get("input")
    shown = "" if isinstance(came, Mapping) or came is None else f" (got {one_line(reprlib.repr(came), 80)})"
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{one_line(place)}: {one_line(message, 1000)}{shown}."


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the nested model at a location."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            break
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            model = nested[0]
    return list(model.model_fields)
