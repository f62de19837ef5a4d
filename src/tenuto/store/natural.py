"""The protocols of natural variation: what natural-2 changes, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass

from tenuto.errors import ConfigError, did_you_mean
from tenuto.store.rows import NATURAL_PROTOCOL

GRADED_PROTOCOL = "natural-2"
"""The column ``protocol`` of rows of natural variations with strengths."""

NATURAL_PROTOCOLS = (NATURAL_PROTOCOL, GRADED_PROTOCOL)


@dataclass(frozen=True)
class Kind:
    """A kind of natural variation.

    Attributes:
        quantity: What grows or falls from one strength to the next.
        unit: Its unit.
        values: Its value at strengths 1 to 5.
    """

    quantity: str
    unit: str
    values: tuple[float, ...]

    def label(self, strength: int) -> str:
        """The value with its unit, such as ``4000 Hz``."""
        return f"{self.values[strength - 1]:g} {self.unit}"


NATURAL_KINDS = {
    "gain": Kind("gain", "dB", (-3, -6, -12, -18, -24)),
    "low-pass": Kind("cut-off frequency", "Hz", (8000, 6000, 4000, 3000, 2000)),
    "equaliser": Kind("gain of an octave, up or down", "dB", (2, 4, 6, 9, 12)),
    "reverberation": Kind("reverberation time", "s", (0.3, 0.6, 1.0, 1.5, 2.5)),
    "white noise": Kind("signal-to-noise ratio", "dB", (40, 30, 20, 15, 10)),
    "pink noise": Kind("signal-to-noise ratio", "dB", (40, 30, 20, 15, 10)),
    "crowd noise": Kind("signal-to-noise ratio", "dB", (40, 30, 20, 15, 10)),
    "mp3": Kind("bit rate", "kb/s", (256, 192, 128, 96, 64)),
    "pitch": Kind("change of all frequencies, up or down", "%", (1, 2, 3, 4, 6)),
    "tempo": Kind("change of tempo, faster or slower", "%", (2, 4, 6, 8, 10)),
    "excerpt": Kind("distance of the excerpt", "s", (0.1, 0.25, 0.5, 1.0, 2.0)),
}
"""What natural-2 does. Other values are another protocol."""


def change_name(kind: str, strength: int) -> str:
    """The column ``objective`` of rows of natural-2, such as ``low-pass 3``."""
    return f"{kind} {strength}"


GRADED_CHANGES = {
    change_name(kind, strength): (kind, strength)
    for kind, own in NATURAL_KINDS.items()
    for strength in range(1, len(own.values) + 1)
}
"""``objective`` of rows of natural-2 -> kind and strength, in the order of the protocol."""


def check_protocol(name: str) -> str:
    """The name of a protocol of natural variation. Raises `ConfigError` for another one."""
    if name not in NATURAL_PROTOCOLS:
        raise ConfigError(
            f"Unknown protocol of natural variation '{name}'. {did_you_mean(name, NATURAL_PROTOCOLS)}"
        )
    return name
