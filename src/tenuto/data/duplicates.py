"""Which recordings are the same, or parts of the same: compared by their sound, not by their names.

Two recordings are compared where at least one frame of both has the same 32 bits (`tenuto.audio.fingerprint`), aligned
at that frame, as J. Haitsma and T. Kalker do (ISMIR 2002). Bits are compared over their whole overlap, so recordings
that share less than some 60 % of it are not found.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tenuto.data.cache import Sound

MOST_ERRORS = 0.25
"""Share of bits that may differ. Copies that were cut, coded again and made quieter differ in at most 0.21; two
different clips of Soundtracks in at least 0.39."""
FEWEST_FRAMES = 60
"""Frames with bits (1.9 s, which 2.5 s of sound give) that have to be compared."""
SLACK = 2
"""Frames by which an alignment may be wrong."""
REACH = 32
"""Recordings that share one frame's bits and are compared with each other; more only of bits that are common."""

Bits = NDArray[np.uint32]
Places = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Duplicate:
    """Two recordings that hold the same sound.

    Attributes:
        first: A name.
        second: Another name.
        seconds: How much of it they share.
        errors: Share of fingerprint bits that differ, 0 to 0.25.
    """

    first: str
    second: str
    seconds: float
    errors: float

    def __str__(self) -> str:
        return (
            f"{self.first} and {self.second} have the same {self.seconds:.1f} s of sound "
            f"({self.errors:.0%} of the bits differ)"
        )


def duplicates(sounds: Mapping[str, Sound], others: Mapping[str, Sound] | None = None) -> list[Duplicate]:
    """Pairs of recordings with the same sound, in order of the names.

    Args:
        sounds: Recordings by name.
        others: Recordings that they are compared with; default: they are compared with each other.
    """
    from tenuto.audio.spectrogram import FRAMES_PER_SECOND  # needs torch

    names = [*sounds, *(others or ())]
    each = [*sounds.values(), *(others or {}).values()]
    pairs: dict[tuple[int, int], Duplicate] = {}
    for first, second in _identical(each):
        pairs[first, second] = Duplicate(names[first], names[second], each[first].seconds, 0.0)
    for (first, second), offsets in _candidates([sound.fingerprint for sound in each]).items():
        if (first, second) in pairs:
            continue
        bits = each[first].fingerprint, each[second].fingerprint
        frames, errors = min(
            (_compare(*bits, offset) for offset, _ in offsets.most_common(5)), key=lambda found: found[1]
        )
        if errors <= MOST_ERRORS:
            seconds = frames / FRAMES_PER_SECOND
            pairs[first, second] = Duplicate(names[first], names[second], seconds, errors)
    own = len(sounds)
    return [pairs[pair] for pair in sorted(pairs) if others is None or (pair[0] < own <= pair[1])]


def is_recognisable(sound: Sound) -> bool:
    """Whether a changed copy of a recording can be found; of one that is too short or too steady only the same file."""
    return int(np.count_nonzero(sound.fingerprint)) >= FEWEST_FRAMES


def _identical(sounds: list[Sound]) -> list[tuple[int, int]]:
    """Pairs of the same file, which may be too short for a fingerprint."""
    files: dict[str, list[int]] = collections.defaultdict(list)
    for place, sound in enumerate(sounds):
        files[sound.audio].append(place)
    return [(a, b) for places in files.values() for a in places for b in places if a < b]


def _candidates(fingerprints: list[Bits]) -> dict[tuple[int, int], collections.Counter[int]]:
    """Pairs of recordings -> how many frames have the same bits at each offset (frames that the second is later)."""
    lengths = [len(bits) for bits in fingerprints]
    keys = np.concatenate([*fingerprints, np.empty(0, np.uint32)])
    owners = np.repeat(np.arange(len(lengths)), lengths)
    frames = np.concatenate([*map(np.arange, lengths), np.empty(0, np.int64)])
    order = np.lexsort((frames, owners, keys))
    keys, owners, frames = keys[order], owners[order], frames[order]
    is_first = np.ones(len(keys), bool)  # of the frames of a recording with the same bits
    is_first[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    chosen = is_first & (keys != 0)
    keys, owners, frames = keys[chosen], owners[chosen], frames[chosen]
    pairs: dict[tuple[int, int], collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for distance in range(1, REACH + 1):
        same = np.flatnonzero(keys[distance:] == keys[:-distance])
        if not len(same):
            break
        for row in same:
            pair = int(owners[row]), int(owners[row + distance])
            pairs[pair][int(frames[row] - frames[row + distance])] += 1
    return pairs


def _compare(first: Bits, second: Bits, offset: int) -> tuple[int, float]:
    """Frames compared, and the share of bits that differ, at the best alignment near an offset; 1 for too few."""
    best = 0, 1.0
    for shift in range(offset - SLACK, offset + SLACK + 1):
        own, other = first[max(shift, 0) :], second[max(-shift, 0) :]
        length = min(len(own), len(other))
        own, other = own[:length], other[:length]
        sounding = (own != 0) | (other != 0)
        frames = int(sounding.sum())
        if frames >= FEWEST_FRAMES:
            differing = np.unpackbits((own ^ other)[sounding].view(np.uint8)).mean()
            best = min(best, (frames, float(differing)), key=lambda found: found[1])
    return best
