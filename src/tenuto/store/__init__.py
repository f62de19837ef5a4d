"""What is on disk: rows, runs, studies and released logs. No other package knows their file names. Needs no torch."""

from tenuto.store.perturbations import Perturbations, row_of, saved_rows
from tenuto.store.released_logs import read_logs, write_log
from tenuto.store.result_rows import rows_of_result
from tenuto.store.rows import (
    at_budget,
    concept_names,
    emotion_names,
    mark_worst,
    read_rows,
    row_errors,
    validate_rows,
    values_of,
    worst_case,
    write_rows,
)
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder, read_natural, read_study

__all__ = [
    "Perturbations",
    "RunFolder",
    "StudyFolder",
    "at_budget",
    "concept_names",
    "emotion_names",
    "mark_worst",
    "read_logs",
    "read_natural",
    "read_rows",
    "read_study",
    "row_errors",
    "row_of",
    "rows_of_result",
    "saved_rows",
    "validate_rows",
    "values_of",
    "worst_case",
    "write_log",
    "write_rows",
]
