"""The length of a recording according to its container, and where that is unreliable.

A length in a header may be an estimate, a placeholder (files written to a pipe) or wrong, and decoders read half a
file without an error. This module finds the pieces of a file, replaces lengths that would stop the decoder early, and
refuses a file that ends too early. Sources: RIFF/WAVE (Microsoft, 1991; RF64: EBU Tech 3306), AIFF (Apple,
1989), RFC 9639 (FLAC), RFC 3533 (Ogg); MPEG audio is in `tenuto.audio.mpeg`.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from tenuto.audio import mpeg
from tenuto.audio.mpeg import cut_off
from tenuto.errors import AudioError

PLACEHOLDER_DISTANCE = 65_536
"""Sizes this close to 2^31 or 2^32 bytes (or to 0x7f000000) are what programs write before they know the size."""

OPEN_FACTOR = 64
"""Largest over smallest bit rate of MPEG audio, at least: an estimate of so many times the size is never too small."""
TAG_BYTES = 128
MOST_CHUNKS = 10_000
BLOCK_BYTES = 1 << 16
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
STARTS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"data", b"SSND")
"""What follows the sound only where files were joined."""
PRINTABLE = range(32, 127)
"""Letters of a chunk's name, such as ``(c) `` of AIFF and ``_PMX`` of WAV."""
MISCOUNTED_BYTES = 4096
"""Of sound that may lie beyond the announced length: some programs count the header wrongly, which nobody hears."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a file that the decoder reads as a file of its own.

    Attributes:
        start: First byte of a span of the file.
        stop: The byte after its last one.
        head: Bytes put before the span.
        samples: Samples per channel that must come out; 0 where only the decoder knows.
        is_open: The decoder would estimate the length, so it is given a larger one than the piece has.
        is_mpeg: MPEG audio, or a file of an unknown kind, which may be.
    """

    start: int
    stop: int
    head: bytes = b""
    samples: int = 0
    is_open: bool = False
    is_mpeg: bool = False


class PieceReader(io.RawIOBase):
    """A piece of an open file as a file. Seeking outside it moves to its nearest end, since decoders try that.

    Attributes:
        piece: The piece.
        failure: What kept the last bytes from being read; the decoder, written in C, cannot pass errors on.
    """

    def __init__(self, stream: BinaryIO, piece: Piece) -> None:
        self.piece, self._stream, self._place = piece, stream, 0
        self._size = (len(piece.head) + piece.stop - piece.start) * (OPEN_FACTOR if piece.is_open else 1)
        self.failure: OSError | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte of the piece; return its number."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = min(max(base + offset, 0), self._size)
        return self._place

    def tell(self) -> int:
        """Number of the next byte."""
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the piece reaches; return the number of bytes."""
        head, size = self.piece.head, len(buffer)
        content = head[self._place : self._place + size]
        if self.piece.is_open and self._place >= self._size - TAG_BYTES:
            content = bytes(min(size, self._size - self._place))  # the decoder looks for a tag at the end
        elif len(content) < size:
            begin = self.piece.start + max(0, self._place - len(head))
            try:
                self._stream.seek(begin)
                content += self._stream.read(max(0, min(size - len(content), self.piece.stop - begin)))
            except OSError as error:
                self.failure = error
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


def pieces(stream: BinaryIO, name: str) -> list[Piece]:
    """The pieces of a recording in their order; more than one where files were joined.

    Args:
        stream: The open file.
        name: What to call it in an error.

    Raises:
        AudioError: The file is cut off.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
        return [_sized_piece(stream, size, name, "big" if head[:4] == b"RIFX" else "little", b"data")]
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return [_sized_piece(stream, size, name, "big", b"SSND")]
    if head[:4] == b"OggS":
        return list(_ogg_pieces(stream, size, name))
    flac = mpeg.after_id3(stream)
    stream.seek(flac)
    if (head := stream.read(42))[:4] == b"fLaC":
        stream.seek(max(0, size - TAG_BYTES))
        return [_flac_piece(flac, head, size - TAG_BYTES * (stream.read(3) == b"TAG"))]
    return [Piece(**values, is_mpeg=True) for values in mpeg.pieces(stream, size, name)]


def _sized_piece(stream: BinaryIO, size: int, name: str, order: str, audio: bytes) -> Piece:
    """The whole file of wav or aiff chunks; the size of its audio chunk is set where it was never written.

    Only this chunk counts: the outer size is wrong in many whole files, and a missing pad byte is no damage.
    """
    place, long_size = 12, 0
    whole = Piece(0, size)
    for _ in range(MOST_CHUNKS):
        stream.seek(place)
        chunk, chunk_size = stream.read(4), int.from_bytes(stream.read(4), order)  # type: ignore[arg-type]
        if place + 8 > size:
            break
        if chunk == b"ds64":
            long_size = int.from_bytes(stream.read(16)[8:], "little")
        if chunk != audio:
            place += 8 + chunk_size + chunk_size % 2
            continue
        header = 8 if audio == b"SSND" else 0
        start, announced = place + 8, long_size if long_size and chunk_size == 2**32 - 1 else chunk_size
        if announced <= header:  # written before the size was known
            stream.seek(0)
            size_bytes = min(size - start, 2**32 - 1).to_bytes(4, order)  # type: ignore[arg-type]
            return Piece(start, size, stream.read(place + 4) + size_bytes)
        if start + announced > size and (long_size or not _is_placeholder(announced)):
            raise cut_off(name, f"{start + announced - size} bytes are missing at its end")
        end = start + announced
        if size - end > MISCOUNTED_BYTES and not any(
            _are_chunks(stream, begin, size, order) for begin in (end, end + announced % 2)
        ):
            raise _longer(name, size - end, "the sound that its header announces")
        return whole
    return whole


def _are_chunks(stream: BinaryIO, place: int, size: int, order: str) -> bool:
    """Whether a file goes on with whole chunks, tags or zeros: something else is sound that no length counts."""
    while place + 8 <= size and not _is_padding(stream, place):
        stream.seek(place)
        chunk, chunk_size = stream.read(4), int.from_bytes(stream.read(4), order)  # type: ignore[arg-type]
        if chunk in STARTS or any(letter not in PRINTABLE for letter in chunk):
            return False
        place += 8 + chunk_size + chunk_size % 2
    return True


def _is_padding(stream: BinaryIO, place: int) -> bool:
    """Whether a file goes on with a tag, or with nothing but zeros."""
    stream.seek(place)
    block = stream.read(BLOCK_BYTES)
    if block.startswith(TAGS):
        return True
    while block:
        if any(block):
            return False
        block = stream.read(BLOCK_BYTES)
    return True


def _longer(name: str, count: int, end: str) -> AudioError:
    return AudioError(
        f"{name}: {count} bytes follow {end}, and are no tag. The file is damaged, or another one was joined to it. "
        "Export the recording again."
    )


def _is_placeholder(announced: int) -> bool:
    marks = (2**31, 2**32, 0x7F000000)
    return any(abs(announced - mark) <= PLACEHOLDER_DISTANCE for mark in marks)


def _flac_piece(start: int, head: bytes, size: int) -> Piece:
    """The file with an unknown length in its header, so that the decoder reads to the end, and the announced one."""
    fields = int.from_bytes(head[18:26], "big")
    samples = fields & (1 << 36) - 1
    open_end = head[:18] + (fields >> 36 << 36).to_bytes(8, "big") + head[26:]
    return Piece(start + len(head), size, open_end, samples)


def _ogg_pieces(stream: BinaryIO, size: int, name: str) -> Iterator[Piece]:
    """The chain's links. A link begins with a page that begins a stream; all its streams must come to their end."""
    place = begin = 0
    is_beginning, open_streams = True, set[bytes]()
    while place < size:
        stream.seek(place)
        header = stream.read(27)
        if header[:4] != b"OggS":
            if not _is_padding(stream, place):
                raise _longer(name, size - place, "its last page")
            break
        table = stream.read(header[26]) if len(header) == 27 else b""
        if len(header) < 27 or len(table) < header[26] or place + 27 + len(table) + sum(table) > size:
            raise cut_off(name, "its last page is not whole")
        begins, ends, serial = header[5] & 2, header[5] & 4, header[14:18]
        if begins and not is_beginning:
            yield _ogg_piece(begin, place, open_streams, name)
            begin, open_streams = place, set()
        is_beginning = bool(begins)
        open_streams = open_streams - {serial} if ends else open_streams | {serial}
        place += 27 + len(table) + sum(table)
    yield _ogg_piece(begin, place, open_streams, name)


def _ogg_piece(begin: int, end: int, open_streams: set[bytes], name: str) -> Piece:
    if open_streams:
        raise cut_off(name, "the page that ends the stream is missing")
    return Piece(begin, end)
