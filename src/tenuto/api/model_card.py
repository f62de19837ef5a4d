"""The model card of an exported run, in Markdown with the front matter of a Hugging Face model repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tenuto.config import RunConfig
from tenuto.data import DATASETS
from tenuto.data.base import Card
from tenuto.errors import counted
from tenuto.reporting.tables import escape_markdown

CARD_METRICS = {
    "correlation": "Pearson r",
    "r2": "R2",
    "mae": "MAE",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
}

NOT_FOR = (
    "decisions about people: what somebody feels, their health, character, work or credit. It predicts how listeners "
    "rate music, and says nothing about the listener",
    "the choice of music for treatment, or anything else in which a wrong prediction harms somebody",
    "music unlike that of its training data, without a test on such music: `tenuto evaluate RUN --data NAME`",
    "uses in which somebody gains from a changed prediction: small changes of the input move predictions far, see "
    "`tenuto attack`",
)


def model_card(
    name: str,
    config: RunConfig,
    about: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    licence: str | None = None,
) -> str:
    """The card.

    Args:
        name: Of the model.
        config: With which it was trained.
        about: Metadata of the checkpoint.
        metrics: What `tenuto.evaluation.robustness.measure` returns of the exported weights, and the number of
            ``clips`` of every part; None where the data were not found.
        licence: Of the weights; None where it is not decided.
    """
    data = DATASETS[config.data.dataset].card
    parts = [
        _front_matter(licence, data),
        f"# {name}\n\n{_summary(config, about)}",
        _usage(about),
        f"## Training\n\n{_training(config, about, data)}",
        f"## Metrics\n\n{_metrics(metrics, about)}",
        f"## Intended use\n\nResearch on music-emotion recognition: to compare, explain and attack models.\n\n"
        f"It must not be used for\n\n{_listed(NOT_FOR)}",
        f"## Licence\n\n{_licence(licence, data)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(licence: str | None, data: Card) -> str:
    content: dict[str, Any] = {} if licence is None else {"license": licence}
    content |= {
        "library_name": "tenuto",
        "tags": ["music", "music-emotion-recognition", "audio", "regression"],
        "metrics": ["pearsonr", "r_squared", "mae"],
        "model_type": "tenuto",
        "training_data": data.title,
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---"


def _summary(config: RunConfig, about: Mapping[str, Any]) -> str:
    scale = about.get("scale") or DATASETS[config.data.dataset].label_scale
    concepts, emotions = (", ".join(map(escape_markdown, about[kind])) for kind in ("concepts", "emotions"))
    through = f", through the concepts {concepts}" if concepts else ""
    precision = about.get("precision", "float32")
    return (
        f"A network of the system {escape_markdown(config.system)} (`{about['network']}`, width {about['width']:g}) "
        f"that predicts {emotions} of music, on a scale of {scale[0]:g} to {scale[1]:g}{through}. It takes ten "
        f"seconds of mono sound at 22 050 Hz as a log spectrogram; a longer recording is the mean of its windows. The "
        f"weights are stored in {escape_markdown(str(precision))} and used in float32."
    )


def _usage(about: Mapping[str, Any]) -> str:
    explain = "\ntenuto explain NAME song.mp3" if about["concepts"] else ""
    return (
        "## How to use it\n\n"
        "`NAME` is this folder, or the name of the model where it comes with Tenuto.\n\n"
        '```python\nimport tenuto\n\nmodel = tenuto.load("NAME")\nmodel.predict("song.mp3").emotions\n```\n\n'
        f"```console\ntenuto predict NAME song.mp3{explain}\n```"
    )


def _training(config: RunConfig, about: Mapping[str, Any], data: Card) -> str:
    origin = f" Concepts are {_concepts(config)}." if about["concepts"] else ""
    epoch = (
        f" The weights are those of epoch {about['epoch']}." if isinstance(about.get("epoch"), int) else ""
    )
    fingerprint = escape_markdown(str(about["fingerprint"])[:8])
    recorded = about.get("versions")
    versions = recorded if isinstance(recorded, Mapping) and recorded else {"not recorded": ""}
    listed = ", ".join(escape_markdown(f"{one} {version}".strip()) for one, version in versions.items())
    return (
        f"Data: {data.title} ({data.size}; {data.origin}), data fingerprint {fingerprint}.{origin}\n\n"
        f"`run.yaml` has all settings. The same training, seed {config.train.seed}:\n\n"
        f"```console\ntenuto train --preset run.yaml --root {data.name}\n```\n\n"
        f"Versions: {listed}.{epoch}\n\n"
        f"Cite the data: {data.citation}"
    )


def _concepts(config: RunConfig) -> str:
    if config.train.task_loss_weight == 1:
        return "units of a bottleneck that was trained on emotions alone"
    if config.data.concepts == "signal":
        return "trained on proxies that are computed from the audio"
    return "trained on ratings of listeners"


def _metrics(metrics: Mapping[str, Any] | None, about: Mapping[str, Any]) -> str:
    if metrics is None:
        return "Not measured: the data set was not available when the model was exported."
    clips, test, mean = metrics["clips"], metrics["test"], metrics["mean_predictor"]
    precision, measures = about.get("precision", "float32"), [name for name in CARD_METRICS if name in test]
    lines = [
        f"Measured with these weights ({precision}) on the {counted(clips['test'], 'test clip')}; "
        f"{counted(clips['train'], 'clip was', 'clips were')} used for training, {clips['validation']} for "
        "validation. Ten seconds of each clip are predicted.",
        "",
        f"| | {' | '.join(CARD_METRICS[name] for name in measures)} |",
        "|---|" + "---|" * len(measures),
    ]
    lines += [
        f"| {escape_markdown(name)} | {' | '.join(f'{test[measure][name]:.3f}' for measure in measures)} |"
        for name in test["mae"]
    ]
    lines += [
        "",
        f"Always predicting the mean rating of the training clips has an MAE of {mean['mae']['overall']:.3f}.",
    ]
    return "\n".join(lines)


def _licence(licence: str | None, data: Card) -> str:
    own = "not decided. Choose one before you publish the model" if licence is None else licence
    return f"Weights: {own}. Training data: {data.licence}."


def _listed(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item};" for item in items[:-1]) + f"\n- {items[-1]}."
