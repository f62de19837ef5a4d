"""The numbers in docs/data.md (duplicates) and docs/audit/label-order.md: `python -m benchmarks.sounds SOUNDTRACKS`."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from tenuto.audio.loading import decode
from tenuto.data import Index, Soundtracks
from tenuto.data.cache import Sound, listen_all
from tenuto.data.duplicates import duplicates
from tenuto.data.label_order import label_orders
from tenuto.errors import counted

Wave = NDArray[Any]
COPIED = 6
"""Every n-th clip is copied."""


def copies(
    wave: Wave, rate: int, chance: np.random.Generator
) -> Iterator[tuple[str, Wave, int, float | None]]:
    """Changed copies of a recording: name, samples, rate, and the compression of mp3 (None: wav)."""
    first, last = (int(chance.uniform(1, 4) * rate) for _ in range(2))
    part, gain = wave[first:-last], 10 ** (-chance.uniform(0, 20) / 20)
    power = np.sqrt((part**2).mean())
    yield "quieter", wave * gain, rate, None
    yield "mp3", wave, rate, 0.6
    yield "mp3, low rate", wave, rate, 0.95
    yield "trimmed", part, rate, None
    yield "trimmed, quieter, mp3", part * gain, rate, 0.8
    yield "the same at 16 kHz", soxr.resample(part * gain, rate, 16_000), 16_000, 0.7
    yield "trimmed, noise at 20 dB", part + chance.normal(0, 0.1 * power, part.shape), rate, None
    for seconds in (5, 3):
        yield f"{seconds} s, quieter, mp3", wave[first : first + seconds * rate] * gain, rate, 0.8


def write_copies(paths: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Copies of every sixth recording as files, by ``change/clip``."""
    chance, written = np.random.default_rng(0), {}
    for clip, path in list(paths.items())[::COPIED]:
        wave, rate = decode(path)
        for number, (name, samples, new_rate, compression) in enumerate(copies(wave, rate, chance)):
            file = folder / f"{clip}-{number}.{'wav' if compression is None else 'mp3'}"
            mp3 = (
                {} if compression is None else {"compression_level": compression, "bitrate_mode": "CONSTANT"}
            )
            soundfile.write(file, samples, new_rate, **mp3)
            written[f"{name}/{clip}"] = file
    return written


def report_duplicates(sounds: dict[str, Sound], copied: dict[str, Sound]) -> None:
    """Which copies are recognised, and which different clips are taken for the same."""
    print(
        f"pairs of different clips that match: {len(duplicates(sounds))} of {len(sounds) * (len(sounds) - 1) // 2}"
    )
    pairs = duplicates(sounds, copied)
    print(f"copies taken for another clip: {sum(pair.second.split('/')[1] != pair.first for pair in pairs)}")
    for change in dict.fromkeys(name.split("/")[0] for name in copied):
        errors = [pair.errors for pair in pairs if pair.second == f"{change}/{pair.first}"]
        print(
            f"{change}: {len(errors)} recognised, bits {np.median(errors):.3f} median, {max(errors):.3f} largest"
        )


def report_orders(index: Index, sounds: dict[str, Sound]) -> None:
    """How often the right and the exchanged columns of valence and energy warn, on random subsets."""
    labels = index.labels.copy()
    labels[:, [0, 1]] = labels[:, [1, 0]]
    exchanged, chance = dataclasses.replace(index, labels=labels), np.random.default_rng(0)
    for order in label_orders(index, sounds):
        print(order)
    for count in (30, 50, 100):
        subsets = [chance.choice(index.clips, count, replace=False) for _ in range(200)]
        shares = [
            np.mean(
                [any(o.is_exchanged for o in label_orders(data, {c: sounds[c] for c in s})) for s in subsets]
            )
            for data in (index, exchanged)
        ]
        print(f"{counted(count, 'clip')}: right columns warn {shares[0]:.3f}, exchanged ones {shares[1]:.3f}")


def main(root: str) -> None:
    """Print all numbers."""
    torch.set_num_threads(1)
    index = Soundtracks(root).index
    paths = dict(zip(index.clips, index.paths, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        sounds = listen_all(paths, Path(folder) / "cache", 1)
        print(f"CPU seconds per 100 clips, first: {(time.process_time() - start) / len(paths) * 100:.2f}")
        start = time.process_time()
        listen_all(paths, Path(folder) / "cache", 1)
        print(f"from the cache: {(time.process_time() - start) / len(paths) * 100:.2f}")
        copied = listen_all(write_copies(paths, Path(folder)), Path(folder) / "cache", 1)
    report_duplicates(sounds, copied)
    report_orders(index, sounds)


if __name__ == "__main__":
    main(sys.argv[1])
