"""The embedded corpus: generated music in the two real file formats, so that the real readers read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tenuto.data.base import Card
from tenuto.data.midlevel import Midlevel


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

    def checksums(self) -> Mapping[str, str]:
        """None: mp3 encoders differ between machines, so generated files have no published checksum."""
        return {}

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Generate the corpus into the root: there is nothing to fetch."""
        from tenuto.data.synthesis import synthesize

        synthesize(
            self.root, progress=None if progress is None else lambda done: progress("clips", done, None)
        )
