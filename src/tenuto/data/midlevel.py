"""Soundtracks with the mid-level perceptual features: seven human concept ratings per excerpt.

A. Aljanaki, M. Soleymani, "A data-driven approach to mid-level perceptual musical feature modeling", ISMIR 2018.
Files in addition to those of Soundtracks: `metadata.csv` and `annotations.csv` in `metadata_annotations/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from tenuto.data.base import Index, Labels, ratings, register_dataset
from tenuto.data.soundtracks import DIVISOR, Soundtracks
from tenuto.errors import DataError, Problems, counted, quote
from tenuto.files import read_csv

OSF_FILE = "4v3xh"
ANNOTATIONS_FOLDER = "metadata_annotations"
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
"""Common name of each concept, and the column of `annotations.csv` that holds it."""

CONCEPTS = tuple(name.replace(" ", "_") for name in CONCEPT_COLUMNS)


@register_dataset
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
        bibtex=Soundtracks.card.bibtex
        + """

@inproceedings{aljanaki2018data,
  author = {Aljanaki, Anna and Soleymani, Mohammad},
  title = {A data-driven approach to mid-level perceptual musical feature modeling},
  booktitle = {Proceedings of the 19th International Society for Music Information Retrieval Conference (ISMIR)},
  year = {2018}
}""",
    )

    marks = ({**Soundtracks.marks[0], "annotations.csv": ("song_id", *CONCEPT_COLUMNS.values())},)

    def read(self, problems: Problems) -> Index:
        """The ratings of both files, after the consistency checks of the study."""
        index = super().read(problems)
        labels = None
        with problems.collect():
            metadata, annotations = self._file("metadata.csv"), self._file("annotations.csv")
            labels = read_concepts(metadata, annotations, index.clips, self.card.concept_scale, problems)
        return dataclasses.replace(index, concepts=CONCEPTS, concept_labels=labels)

    def _file(self, name: str) -> Path:
        """The annotation file, wherever below the folder the archive put it."""
        paths = sorted((self.root / ANNOTATIONS_FOLDER).rglob(name))
        if not paths:
            raise DataError(
                f"{self.root / ANNOTATIONS_FOLDER / name}: does not exist. Download it with "
                f"`tenuto data download {self.card.name} --root DIR`."
            )
        return paths[0]

    def download(self, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        """Download Soundtracks and the annotation archive from OSF. Raises `DownloadError`."""
        from tenuto.data.archive import unzip
        from tenuto.data.remote import osf_file

        super().download(progress)
        unzip(osf_file(OSF_FILE, self.root, progress=progress), self.root / ANNOTATIONS_FOLDER)


def read_concepts(
    metadata_path: Path,
    annotations_path: Path,
    clips: tuple[str, ...],
    scale: tuple[float, float],
    problems: Problems,
) -> Labels:
    """Concept ratings of the Soundtracks clips, shape (clips, 7), divided by ten.

    The ids of the two files, and the clip numbers of the two data sets, must agree row by row: no other key connects a
    rating with its recording. Ratings outside ``scale`` are added to ``problems``.

    Raises:
        DataError: The files disagree.
    """
    tables = Problems()
    metadata = read_csv(
        metadata_path,
        columns=("song id", "Source", "ID at file source"),
        separator=";",
        text=("song id", "Source", "ID at file source"),
        problems=tables,
    )
    columns = tuple(CONCEPT_COLUMNS.values())
    annotations = read_csv(
        annotations_path, columns=("song_id", *columns), text=("song_id", *columns), problems=tables
    )
    ids, numbers = f"song_id in {annotations_path}", f"ID at file source in {metadata_path}"
    if "song_id" in annotations:
        labels = ratings(annotations, columns, scale, annotations_path, "song_id", problems)
    tables.raise_all()
    _agree(metadata["song id"], annotations["song_id"], f"song id in {metadata_path}", ids)
    rows = (metadata["Source"].str.strip() == SOURCE).to_numpy()
    if not problems.sentences:  # else the ratings table has lost rows
        _agree(
            metadata.loc[rows, "ID at file source"].map(_number),
            map(_number, clips),
            numbers,
            "the rated clip",
        )
    return labels[rows] / DIVISOR


def _agree(first: Iterable[str], second: Iterable[str], first_name: str, second_name: str) -> None:
    one, other = [cell.strip() for cell in first], [cell.strip() for cell in second]
    if len(one) != len(other):
        raise DataError(
            f"{first_name} has {counted(len(one), 'row')}, {second_name} has {len(other)}; they must have the same "
            "rows. Download both data sets again."
        )
    for row, (left, right) in enumerate(zip(one, other, strict=True), 1):
        if left != right:
            raise DataError(
                f"row {row}: {first_name} is {quote(left)}, {second_name} is {quote(right)}; they must be the same. "
                "Download both again."
            )


def _number(clip: str) -> str:
    """A clip number without leading zeros or file type: ``007.mp3`` is 7."""
    return str(clip).strip().removesuffix(".mp3").lstrip("0")
