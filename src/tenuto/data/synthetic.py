"""The synthetic corpus: generated music in the file formats of the real data, read by the same code."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from tenuto.data.base import Card, Labels, register_dataset
from tenuto.data.midlevel import Midlevel
from tenuto.data.soundtracks import SYNTHETIC_STATE
from tenuto.errors import Problems


@register_dataset
class Synthetic(Midlevel):
    """Seeded, audible music whose seven concepts are the controls of its generator."""

    card = Card(
        name="synthetic",
        title="Generated music with known concepts; its emotions follow a documented formula, no listener rated it",
        origin="made on this machine by `tenuto data synthesize`",
        licence="MIT, as Tenuto",
        size="360 mp3 files of 15 s by default, about 60 MB",
        citation="the Tenuto project",
        emotion_scale=(1.0, 9.0),
        concept_scale=(1.0, 10.0),
    )

    marks = ({SYNTHETIC_STATE: ()},)

    def _check_identity(
        self, clips: tuple[str, ...], labels: Labels, albums: tuple[str, ...] | None, problems: Problems
    ) -> None:
        if not (self.root / SYNTHETIC_STATE).is_file():
            problems.add(
                f"{self.root}: contains no {SYNTHETIC_STATE}, so it is not a synthetic corpus. Use "
                "`dataset=midlevel` or `dataset=soundtracks`, or make one with `tenuto data synthesize`."
            )

    def _access(self) -> str:
        return "make them with `tenuto data synthesize --root DIR`"

    def checksums(self) -> Mapping[str, str]:
        """Empty: mp3 encoders differ between machines, so generated files have no published checksum."""
        return {}

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Generate the corpus in the root, since there is nothing to download."""
        from tenuto.data.synthesis import synthesize

        numbers = itertools.count(1)
        synthesize(self.root, progress=progress and (lambda _: progress("clips", next(numbers), None)))
