"""Audio file to blocks of samples as they are stored, decoded to the real end of the file by libsndfile."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.containers import Piece, PieceReader, pieces
from tenuto.audio.mpeg import cut_off
from tenuto.audio.stderr import decoder_messages
from tenuto.errors import AudioError, FileError, counted
from tenuto.files import naming

if TYPE_CHECKING:
    import soundfile

Block = NDArray[np.float32]
"""Samples of shape (frames, channels)."""

FORMATS = ("MP3", "WAV", "WAVEX", "RF64", "FLAC", "OGG", "AIFF")
SAMPLE_RATES_HZ = (1_000, 768_000)
"""Lowest and highest sample rate that is read; others come from damaged headers."""
LONGEST_HOURS = 24
BLOCK_SAMPLES = 1 << 18
MPEG_SLACK = 2 * 1152
"""Samples of a whole MPEG stream that a decoder may drop: encoder delay and header frames."""


def read_blocks(path: str | Path, messages: list[str] | None = None) -> Iterator[tuple[Block, int]]:
    """Blocks of samples with their sample rate in Hz, to the end of the file; floats beyond 1 are scaled to peak 1.

    Args:
        path: The recording.
        messages: Receives the messages of the decoder about damage that it skipped.

    Raises:
        AudioError: Undecodable, empty, cut off, too long, or of an implausible sample rate.
        FileError: The file cannot be read or is no regular file.
    """
    count, name = 0, str(path)
    with _open(Path(path)) as stream:
        for piece in pieces(stream, name):
            for block, rate in _piece_blocks(stream, piece, name, [] if messages is None else messages):
                count += len(block)
                if count > LONGEST_HOURS * 3600 * rate:
                    raise AudioError(f"{name}: longer than {LONGEST_HOURS} hours. Cut it into parts.")
                yield block, rate
    if count == 0:
        raise AudioError(f"{name}: holds no samples. Copy or export the file again.")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; reading from anything else may never end."""
    with naming(path, "read"):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise FileError(f"{path}: is a folder. Name a recording in it.")
        if not stat.S_ISREG(mode):
            raise FileError(f"{path}: is a pipe or device. Write the sound to a file and name that.")
        with open(path, "rb", buffering=1 << 18) as stream:
            yield stream


def _piece_blocks(
    stream: BinaryIO, piece: Piece, name: str, messages: list[str]
) -> Iterator[tuple[Block, int]]:
    count = 0
    with _decoder(stream, piece, name, messages) as (sound, reader):
        gain = 1 / _stored_peak(stream, piece, name) if sound.subtype in ("FLOAT", "DOUBLE") else 1.0
        for block in _read_blocks(sound, reader, name, messages):
            count += len(block)
            yield (block if gain == 1 else block * np.float32(gain)), sound.samplerate
        announced = piece.samples or sound.frames
        if announced < 2**62 and count < announced - (MPEG_SLACK if piece.is_mpeg else 0):
            raise cut_off(name, f"it holds {count} of {counted(announced, 'sample')}")


def _read_blocks(
    sound: soundfile.SoundFile, reader: PieceReader, name: str, messages: list[str]
) -> Iterator[Block]:
    frames = max(1, BLOCK_SAMPLES // sound.channels)
    while True:
        with _translated(name, reader, messages):
            block = sound.read(frames, dtype="float32", always_2d=True)
        if len(block):
            yield block
        if len(block) < frames:
            return


def _stored_peak(stream: BinaryIO, piece: Piece, name: str) -> float:
    """Largest stored sample, but at least 1. Raises `AudioError` for samples that are not finite."""
    peak = 1.0
    with _decoder(stream, piece, name, []) as (sound, reader):
        for block in _read_blocks(sound, reader, name, []):
            peak = max(peak, float(np.abs(block).max()))
            if not np.isfinite(block).all():
                raise not_finite(name)
    return peak


@contextlib.contextmanager
def _decoder(
    stream: BinaryIO, piece: Piece, name: str, messages: list[str]
) -> Iterator[tuple[soundfile.SoundFile, PieceReader]]:
    """An open decoder of a piece. Raises `AudioError` for what it cannot read."""
    reader = PieceReader(stream, piece)
    with _translated(name, reader, messages):
        sound = _decoder_class()(io.BufferedReader(reader, 1 << 16))
    with sound:
        low, high = SAMPLE_RATES_HZ
        if sound.format not in FORMATS or ("MPEG" in sound.subtype) != piece.is_mpeg:
            raise AudioError(
                f"{name}: is {sound.format} audio ({sound.subtype}), which is not supported. Convert it to wav or flac."
            )
        if not low <= sound.samplerate <= high:
            raise AudioError(
                f"{name}: sample rate {sound.samplerate} Hz, must be {low} to {high}. The header may be damaged; "
                "export the recording again."
            )
        yield sound, reader


@functools.cache
def _decoder_class() -> type[soundfile.SoundFile]:
    import soundfile

    class Decoder(soundfile.SoundFile):  # type: ignore[misc]
        """Reads blocks without seeking, so that a length that is unknown or too small stops nothing."""

        def seekable(self) -> bool:
            return False

    return Decoder


@contextlib.contextmanager
def _translated(name: str, reader: PieceReader, messages: list[str]) -> Iterator[None]:
    """Turn every error of the decoder into one sentence; what it prints goes to ``messages``."""
    silent: contextlib.AbstractContextManager[list[str]] = contextlib.nullcontext([])
    try:
        with decoder_messages() if reader.piece.is_mpeg else silent as printed:
            yield
    except Exception as error:
        if reader.failure is not None:
            raise reader.failure from error
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise AudioError(
            f"{name}: cannot be decoded ({reason or 'damaged data'}). "
            "Use a whole mp3, ogg, opus, flac, wav or aiff file."
        ) from error
    messages += printed


def not_finite(name: str) -> AudioError:
    """The error for a recording with samples that are no numbers."""
    return AudioError(f"{name}: holds samples that are NaN or infinite. Export the recording again.")
