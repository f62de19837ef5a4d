"""Results that show themselves: as text where Python prints them, as HTML in a notebook."""

from __future__ import annotations

import abc
import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

Element: TypeAlias = "str | pd.DataFrame"
"""A sentence or a table."""

DIGITS = 4
"""Decimals of numbers; a column with smaller ones is shown in scientific notation."""

WIDEST = 100
"""Characters of a cell in text, after which it is cut off."""


class Displayed(abc.ABC):
    """A result that shows itself by sentences and tables.

    A data class that inherits from it is declared with ``repr=False``.
    """

    @abc.abstractmethod
    def _elements(self) -> list[Element]:
        """What is shown, in this order."""

    def __repr__(self) -> str:
        """The name of the class, and below it sentences and tables."""
        import pandas as pd

        with pd.option_context("display.precision", DIGITS):
            parts = [
                part if isinstance(part, str) else part.to_string(index=_is_named(part), max_colwidth=WIDEST)
                for part in self._elements()
            ]
        return "\n".join([type(self).__name__, *parts])

    def _repr_html_(self) -> str:
        """Return sentences and tables as a notebook shows them; text is escaped."""
        import pandas as pd

        with pd.option_context("display.precision", DIGITS, "display.max_colwidth", None):
            return "".join(
                paragraphs([part]) if isinstance(part, str) else part.to_html(index=_is_named(part))
                for part in self._elements()
            )


def paragraphs(sentences: Iterable[str]) -> str:
    """Sentences as HTML, escaped."""
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def _is_named(table: pd.DataFrame) -> bool:
    """Whether the lines of a table have names, not only numbers."""
    import pandas as pd

    return not isinstance(table.index, pd.RangeIndex)
