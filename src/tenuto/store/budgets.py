"""What the norms of rows are for people: the title of an axis, and sizes in the unit of that axis.

An epsilon grows with the strength of an attack for every norm. Budgets of hearing are shown in dB: a signal-to-noise
ratio falls as epsilon grows, a noise-to-mask ratio rises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Norm:
    """A norm as rows name it.

    Attributes:
        name: The value of the column ``norm``.
        title: What the norm measures, as the title of an axis.
        form: A size with its name, in which ``{}`` is the number.
        column: The column of rows that holds the measured size of a perturbation, in dB where sizes are shown in dB;
            empty where rows have none.
        db: Sign of the dB value, 20 log10 of epsilon: -1 where it falls with the strength of an attack, 1 where it
            rises; 0 for a norm that is not shown in dB.
    """

    name: str
    title: str
    form: str
    column: str = ""
    db: int = 0

    @property
    def in_db(self) -> bool:
        """Whether sizes are shown in dB."""
        return self.db != 0

    @property
    def falls(self) -> bool:
        """Whether the shown size falls as an attack gets stronger."""
        return self.db < 0

    @property
    def file_name(self) -> str:
        """The name as a part of a file's name; names of other packages may hold anything."""
        return re.sub(r"[^\w.+-]+", "_", self.name)

    def value(self, epsilon: float) -> float:
        """An epsilon in the unit in which it is shown."""
        if not self.in_db:
            return epsilon
        return self.db * (20 * math.log10(epsilon) if epsilon > 0 else -math.inf)

    def epsilon(self, value: float) -> float:
        """The epsilon of a shown size."""
        return 10 ** (self.db * value / 20) if self.in_db else value

    def number(self, epsilon: float) -> str:
        """That value in digits."""
        return f"{round(self.value(epsilon), 6) + 0.0:g}"

    def short(self, epsilon: float) -> str:
        """That value with its unit, where that is dB."""
        return f"{self.number(epsilon)} dB" if self.in_db else self.number(epsilon)

    def label(self, epsilon: float) -> str:
        """A size for people, such as ``linf 0.1``, ``40 dB SNR`` or ``noise-to-mask 0 dB``."""
        return self.form.format(self.number(epsilon))


NORMS = {
    norm.name: norm
    for norm in (
        Norm("linf", "Largest change of an entry", "linf {}", "linf"),
        Norm("l2", "Euclidean norm of the change", "l2 {}", "l2"),
        Norm("snr", "Signal-to-noise ratio", "{} dB SNR", "snr_db", -1),
        Norm("amplitude", "Largest change of a sample", "amplitude {}", "linf"),
        Norm("masked", "Noise-to-mask ratio", "noise-to-mask {} dB", "nmr_db", 1),
    )
}
"""Norms in the order in which tables and figures show them."""


def norm_of(name: str) -> Norm:
    """The norm of this name; norms of other packages are shown as they are."""
    braced = name.replace("{", "{{").replace("}", "}}")
    return NORMS.get(name) or Norm(name, name, f"{braced} {{}}")


def norm_order(name: str) -> tuple[int, str]:
    """A key that sorts names of norms as tables show them."""
    names = list(NORMS)
    return (names.index(name) if name in names else len(names), name)


def has_budget(table: pd.DataFrame, norm: str, epsilon: float) -> NDArray[np.bool_]:
    """Which lines have this norm and epsilon, up to rounding; NaN is no budget, and equals NaN."""
    sizes = table["epsilon"].to_numpy(np.float64)
    is_size = np.isclose(sizes, epsilon, rtol=1e-9, atol=0, equal_nan=True)
    return np.asarray((table["norm"] == norm).to_numpy() & is_size)


def listed(budgets: Sequence[tuple[str, float]]) -> str:
    """Budgets (norm, epsilon) for a message: numbers alone where all are of one norm that is not in dB."""
    norms = {norm for norm, _ in budgets}
    if len(norms) == 1 and not norm_of(*norms).in_db:
        return ", ".join(f"{epsilon:g}" for _, epsilon in budgets)
    return ", ".join(norm_of(norm).label(epsilon) for norm, epsilon in budgets) or "none"


def which_budget(budgets: Sequence[tuple[str, float]]) -> str:
    """A sentence that asks for one of several budgets (norm, epsilon), and names the parameters that choose it."""
    in_db = {norm: norm_of(norm).in_db for norm, _ in budgets}
    parameters = " or ".join(sorted({"`db`" if is_in_db else "`epsilon`" for is_in_db in in_db.values()}))
    sizes = [(in_db[norm], norm_of(norm).number(epsilon)) for norm, epsilon in budgets]
    norm = ", and `norm`" if len(set(sizes)) < len(sizes) else ""
    return f"the rows have several budgets ({listed(budgets)}). Choose one with {parameters}{norm}."
