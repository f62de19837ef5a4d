"""Soundtracks with the mid-level perceptual features: seven human concept ratings per excerpt.

A. Aljanaki, M. Soleymani, "A data-driven approach to mid-level perceptual musical feature modeling", ISMIR 2018.
Files beside those of Soundtracks: `metadata_annotations/metadata.csv` and `metadata_annotations/annotations.csv`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tenuto.data.base import Index, Labels, ratings
from tenuto.data.soundtracks import DIVISOR, Soundtracks
from tenuto.errors import DataError
from tenuto.files import read_csv

OSF_FILE = "4v3xh"
FOLDER = "metadata_annotations"
SOURCE = "soundtracks"

CONCEPT_COLUMNS = {
    "melodiousness": "melody",
    "articulation": "articulation",
    "rhythmic complexity": "rhythm_complexity",
    "rhythmic stability": "rhythm_stability",
    "dissonance": "dissonance",
    "tonal stability": "atonality",
    "modality": "mode",
}
"""The field's name of each concept, and the column of `annotations.csv` that holds it."""

CONCEPTS = tuple(name.replace(" ", "_") for name in CONCEPT_COLUMNS)


class Midlevel(Soundtracks):
    """Soundtracks joined row by row to its seven concept ratings, divided by ten."""

    card = dataclasses.replace(
        Soundtracks.card,
        name="midlevel",
        title="Soundtracks, set 1, with the seven mid-level perceptual features (Aljanaki & Soleymani 2018)",
        origin="https://osf.io/p6vkg and https://osf.io/5aupt",
        citation=Soundtracks.card.citation
        + " A. Aljanaki and M. Soleymani. A data-driven approach to mid-level "
        "perceptual musical feature modeling. ISMIR 2018.",
    )

    def read(self) -> Index:
        """The ratings of both files, after every consistency check of the study."""
        index = super().read()
        metadata, annotations = self._file("metadata.csv"), self._file("annotations.csv")
        labels = read_concepts(metadata, annotations, index.clips, self.card.concept_scale)
        return dataclasses.replace(index, concepts=CONCEPTS, concept_labels=labels)

    def _file(self, name: str) -> Path:
        """The annotation file, wherever below the folder the archive put it."""
        found = sorted((self.root / FOLDER).rglob(name))
        if not found:
            raise DataError(
                f"{self.root / FOLDER / name}: not there. Fetch it with "
                f"`tenuto data download {self.card.name} --root DIR`."
            )
        return found[0]

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Fetch Soundtracks and the annotation archive from OSF. Raises `DownloadError`."""
        from tenuto.data.download import osf_file, unzip

        super().download(progress)
        unzip(osf_file(OSF_FILE, self.root, progress=progress), self.root / FOLDER)


def read_concepts(
    metadata_path: Path, annotations_path: Path, clips: tuple[str, ...], scale: tuple[float, float]
) -> Labels:
    """Concept ratings of the Soundtracks clips, shape (clips, 7), divided by ten.

    The ids of the two files, and the clip numbers of the two data sets, must agree row by row: there is no other
    key that ties a rating to its recording.

    Raises:
        DataError: The files disagree, or a rating is outside ``scale``.
    """
    metadata = read_csv(
        metadata_path,
        columns=("song id", "Source", "ID at file source"),
        separator=";",
        text=("ID at file source",),
    )
    annotations = read_csv(annotations_path, columns=("song_id", *CONCEPT_COLUMNS.values()))
    _agree(
        [str(value) for value in metadata["song id"]],
        [str(value) for value in annotations["song_id"]],
        f"song id in {metadata_path}",
        f"song_id in {annotations_path}",
    )
    ours = (metadata["Source"].str.strip() == SOURCE).to_numpy()
    numbers = [_number(value) for value in metadata.loc[ours, "ID at file source"]]
    _agree(
        numbers, [_number(clip) for clip in clips], f"ID at file source in {metadata_path}", "the rated clip"
    )
    columns = tuple(CONCEPT_COLUMNS.values())
    return ratings(annotations[ours], columns, scale, annotations_path, "song_id") / DIVISOR


def _agree(first: list[str], second: list[str], first_name: str, second_name: str) -> None:
    if len(first) != len(second):
        raise DataError(
            f"{first_name} has {len(first)} rows, {second_name} {len(second)}; wanted the same rows. "
            "Fetch both data sets again."
        )
    for row, (one, other) in enumerate(zip(first, second, strict=True), 1):
        if one != other:
            raise DataError(
                f"row {row}: {first_name} is {one}, {second_name} is {other}; wanted the same. Fetch both again."
            )


def _number(clip: str) -> str:
    """A clip number without leading zeros or file type: ``007.mp3`` is 7."""
    return str(clip).strip().removesuffix(".mp3").lstrip("0")
