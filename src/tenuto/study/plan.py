"""What a study will do, without doing it."""

from __future__ import annotations

from tenuto.config import RunConfig, StudyConfig, merge, with_system


def runs(study: StudyConfig) -> list[RunConfig]:
    """The configuration of every run, systems outermost, in the order given."""
    return [_run(study, system, seed) for system in study.systems for seed in study.seeds]


def _run(study: StudyConfig, system: str, seed: int) -> RunConfig:
    shared = study.run.model_dump(mode="json")
    shared["train"]["adversarial"] = study.adversarial.model_dump(mode="json")
    content = merge(with_system(shared, system), {"train": {"seed": seed}})
    return RunConfig.parse(content, f"{system}, seed {seed}").named()


def reductions(study: StudyConfig) -> list[str]:
    """How a study is smaller than the paper's, as sentences for the screen."""
    run, found = study.run, []
    if study.corpus is not None:
        found.append(
            f"{study.corpus.clips} generated clips of {study.corpus.seconds:g} s instead of 360 recordings"
        )
    if run.model.width != 1:
        found.append(f"{run.model.width:g} of the channels")
    if run.train.epochs < 199:
        found.append(f"at most {run.train.epochs} epochs instead of 199")
    if len(study.seeds) < 10:
        found.append(f"{len(study.seeds)} seeds instead of 10")
    if study.adversarial.iterations < 50:
        found.append(
            f"{study.adversarial.iterations} attack iterations in adversarial training instead of 50"
        )
    if (iterations := study.attack.settings.get("iterations", 1000)) != 1000:
        found.append(f"{iterations} attack iterations instead of 1000")
    return found
