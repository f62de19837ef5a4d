"""Which run or model is meant by a name: a folder, the beginning of its name, or a pretrained model."""

from __future__ import annotations

from pathlib import Path

from tenuto.audio.loading import EXTENSIONS
from tenuto.errors import CheckpointError, ConfigError, counted, did_you_mean
from tenuto.store.exported import ModelFolder
from tenuto.store.run import SUFFIXES, RunFolder, is_file, listed
from tenuto.store.study import StudyFolder

Place = str | Path

PRETRAINED = Path(__file__).resolve().parents[1] / "models" / "pretrained"
"""Folder of the models that come with Tenuto, a `ModelFolder` each."""

LISTED = 5
"""Runs that a message names."""


def pretrained_models() -> dict[str, Path]:
    """The folders of the models that come with Tenuto, by name."""
    folders = (Path(entry) for entry in listed(PRETRAINED))
    return {folder.name: folder for folder in folders if is_file(ModelFolder(folder).config)}


def is_recording(place: Place) -> bool:
    """Whether a name is that of a recording: by its ending, or a file that is no checkpoint or model."""
    path = Path(place)
    is_model = path.suffix.lower() in (".safetensors", *SUFFIXES.values())
    return path.suffix.lower() in EXTENSIONS or (not is_model and is_file(path))


def path_of(place: object) -> Path:
    """The path of a place, of an open run its folder. Raises `ConfigError` for anything else."""
    path = getattr(place, "folder", place)
    if not isinstance(path, str | Path):
        raise ConfigError(
            f"expected the folder of a run or study, or an open run, got {type(place).__name__}."
        )
    return Path(path)


def complete(place: object) -> Path:
    """The path of the only run whose name begins with ``place``; ``place`` where it exists or no run does.

    A whole part of a name comes first: ``A2E-6`` is ``A2E-6-1a2b3c4d`` and not ``A2E-61-5e6f7a8b``.

    Raises:
        ConfigError: The names of several runs begin so, or ``place`` is no path and no open run.
    """
    path = path_of(place)
    if path.exists() or not path.name or path.suffix.lower() in EXTENSIONS:
        return path
    similar = [
        Path(entry)
        for entry in listed(path.parent)
        if entry.name.startswith(path.name) and RunFolder(entry.path).exists()
    ]
    whole = [run for run in similar if run.name.startswith(f"{path.name}-")]
    chosen = whole or similar
    if len(chosen) > 1:
        raise ConfigError(
            f"{place}: {len(chosen)} runs have names that begin so: {_some(chosen)}. Type more of the name."
        )
    return path.parent / chosen[0].name if chosen else path


def locate_run(place: Place) -> Path:
    """The folder of the run that is meant.

    Args:
        place: The folder, or the beginning of its name.

    Raises:
        ConfigError: No such run, or several; a study, a recording, a checkpoint or a model that is no run.
    """
    path = complete(place)
    _refuse_foreign(path)
    if not path.is_dir():
        raise _not_a_run(path)
    if ModelFolder(path).exists():
        raise ConfigError(
            f"{place}: is an exported model, not a run. It predicts, explains and is attacked on recordings: "
            f"`tenuto predict {place} song.mp3`."
        )
    _refuse_study(path)
    return path


def locate_model(place: Place) -> Path:
    """The folder or checkpoint of the model that is meant.

    Args:
        place: A run as in `locate_run`, an exported model, a checkpoint file, or the name of a pretrained model.

    Raises:
        ConfigError: Several runs, a study, or a recording.
        CheckpointError: No such model.
    """
    path = complete(place)
    _refuse_foreign(path)
    if not path.exists():
        models = pretrained_models()
        if str(place) in models:
            return models[str(place)]
        if path.suffix == ".safetensors":
            raise CheckpointError(f"{path}: no such checkpoint. Train a run first, or name its folder.")
        if path.suffix.lower() not in EXTENSIONS:
            raise CheckpointError(
                f"{place}: no such run, checkpoint or pretrained model. {_known_runs(path, models)}"
            )
    if path.suffix.lower() in EXTENSIONS:
        raise _recording(path)
    if path.is_dir() and not ModelFolder(path).config.is_file() and not _is_run(path):
        _refuse_study(path)
        raise CheckpointError(
            f"{path}: is a folder without a model. Name a run, an exported model or a checkpoint."
        )
    return path


def _is_run(path: Path) -> bool:
    """Whether a folder is a run, finished or not."""
    return RunFolder(path).exists() or is_file(RunFolder(path).checkpoint)


def _refuse_study(path: Path) -> None:
    """Raise `ConfigError` for a folder that contains runs and is none."""
    if _is_run(path):
        return
    if runs := StudyFolder(path).runs(lambda error: None):
        raise ConfigError(
            f"{path}: is a study with {counted(len(runs), 'run')}, not a run. Name one of them: "
            f"{_some([run.path for run in runs])}. Type `tenuto report {path} --out report.html` for the whole study."
        )


def _refuse_foreign(path: Path) -> None:
    """Raise `ConfigError` for the file of a model from elsewhere, which also `tenuto export` writes."""
    if path.suffix.lower() in SUFFIXES.values() and is_file(path):
        raise ConfigError(
            f"{path}: is the file of a model, not a run. Type `tenuto adopt {path}`, and name the run that it makes."
        )


def _not_a_run(path: Path) -> ConfigError:
    """What is said of a path that is no folder."""
    models = pretrained_models()
    if str(path) in models:
        return ConfigError(
            f"{path}: is a pretrained model, not a run. It predicts, explains and is attacked on recordings: "
            f"`tenuto predict {path} song.mp3`."
        )
    if is_recording(path):
        return _recording(path)
    if path.exists():
        return ConfigError(f"{path}: is a file, not a run folder. Name the folder of a run.")
    return ConfigError(f"{path}: no such run. {_known_runs(path, {})}")


def _recording(path: Path) -> ConfigError:
    if not path.exists():
        return ConfigError(f"{path}: no such file. It is named like a recording; name a run in its place.")
    return ConfigError(
        f"{path}: is {'a recording' if path.suffix.lower() in EXTENSIONS else 'a file'}, not a run. Name the folder of "
        f"a run. To predict a recording type `tenuto predict {path}`."
    )


def _known_runs(path: Path, models: dict[str, Path]) -> str:
    """Runs next to a path that does not exist, or pretrained models, as a hint."""
    runs = [entry.name for entry in listed(path.parent) if RunFolder(entry.path).exists()]
    if runs or models:
        return did_you_mean(path.name, [*runs, *models])
    return "Name a folder that `tenuto train` or `tenuto adopt` made."


def _some(runs: list[Path]) -> str:
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return ", ".join(map(str, runs[:LISTED])) + more
