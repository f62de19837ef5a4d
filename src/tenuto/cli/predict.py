"""`tenuto predict`."""

from __future__ import annotations

import dataclasses

from tenuto.cli import common
from tenuto.cli.common import out
from tenuto.cli.screen import profile_table

PREDICTING_MODEL = "a2e-soundtracks"
"""The model that predicts, or is attacked on a recording, where none is named."""


def predict(
    audio: common.Recordings,
    trust: common.Trust = False,
    as_json: common.AsJson = False,
) -> None:
    """Predict the emotions of recordings of any length. No data set is needed.

    Without a run, the pretrained model a2e-soundtracks predicts. The beginning of a run's name is enough.

    Example: tenuto predict song.mp3

    Example: tenuto predict runs/A2E-6 song.mp3
    """
    from tenuto import api
    from tenuto.evaluation.explanation import drawn_scale

    run, files = common.model_and_recordings(audio, PREDICTING_MODEL)
    model = api.load(run, trust=trust)
    if as_json:
        common.print_json({str(path): dataclasses.asdict(model.predict(path)) for path in files})
        return
    for path in files:  # printed one by one, so that results before a bad file are not lost
        profile = model.predict(path)
        out.print(
            profile_table(str(path), profile.emotions, profile.concepts or {}, drawn_scale(model.scale))
        )
