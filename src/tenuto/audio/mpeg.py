"""MPEG audio files frame by frame. They do not state their length: decoders estimate it from the first bit rate.

Frame headers, bit rates and sample rates: ISO/IEC 11172-3 and 13818-3, section 2.4. The Xing (or Info) frame that many
encoders write first holds the number of frames, which the decoder believes; without one, or with a wrong one, the
decoder must be kept from estimating.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, BinaryIO

from tenuto.errors import AudioError

_RATES_V1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_RATES_V2 = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

SCAN_BYTES = 65_536
MOST_JUNK_BYTES = 1 << 20
"""Bytes, tags aside, behind which no further frame is looked for."""


def cut_off(name: str, lacking: str) -> AudioError:
    """The error for a recording that lacks its end."""
    return AudioError(f"{name}: cut off, {lacking}. Copy or export the file again.")


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame's four header bytes read.

    Attributes:
        length: Length of the frame in bytes.
        samples: Samples per channel.
        kind: What must not change within one stream: version, layer, sample rate, mono or not.
    """

    length: int
    samples: int
    kind: tuple[int, int, int, bool]

    @property
    def side_information(self) -> int:
        """Bytes between the header and the place of a Xing mark."""
        version, _, _, is_mono = self.kind
        return (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)


@dataclasses.dataclass
class _Stream:
    """Frames that follow each other and were encoded together."""

    first: Frame
    start: int
    stop: int
    announced: int | None
    frames: int = 0


@functools.lru_cache(maxsize=4096)
def read_frame(header: bytes) -> Frame | None:
    """The frame that begins with these bytes; None where none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate_index, sample_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_index in (0, 15) or sample_index == 3:
        return None
    bits = (_RATES_V1 if version == 3 else _RATES_V2)[layer][rate_index] * 1000
    rate, is_mono = _SAMPLE_RATES[version][sample_index], header[3] >> 6 == 3
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    length = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
    return Frame(length, samples, (version, layer, rate, is_mono))


def pieces(stream: BinaryIO, size: int, name: str) -> Iterator[dict[str, Any]]:
    """Arguments of `tenuto.audio.containers.Piece` for every stream; the whole file if it has none.

    Raises:
        AudioError: The last frame is cut, or frames that a Xing header announces are missing.
    """
    streams = list(_streams(stream, size, name))
    if not streams:
        yield {"start": 0, "stop": size}
    for each in streams:
        length, first = each.stop - each.start, each.first
        samples = each.frames * first.samples
        if each.announced is None:
            yield {"start": each.start, "stop": each.stop, "samples": samples, "is_open": True}
        # Some encoders count the Xing frame itself and others do not, so one frame is no evidence.
        elif each.announced - each.frames > 1:
            frames_missing = (each.announced - each.frames) * length // max(each.frames, 1)
            raise cut_off(name, f"about {frames_missing} bytes are missing")
        elif each.frames - each.announced <= 1:
            stream.seek(each.start)
            head = _with_size(stream.read(first.length), first, length)
            yield {"head": head, "start": each.start + first.length, "stop": each.stop}
        else:
            yield {"start": each.start + first.length, "stop": each.stop, "samples": samples, "is_open": True}


def _streams(stream: BinaryIO, size: int, name: str) -> Iterator[_Stream]:
    current: _Stream | None = None
    place = _next_frame(stream, after_id3(stream), size)
    while place < size:
        stream.seek(place)
        frame = read_frame(stream.read(4))
        if frame is None:
            place = _next_frame(stream, place, size)
            continue
        if place + frame.length > size:
            bytes_missing = place + frame.length - size
            raise cut_off(name, f"{bytes_missing} bytes of its last frame are missing")
        announced = _announced_frames(stream.read(min(frame.length, 200)), frame)
        is_joined = current is not None and place == current.stop and frame.kind == current.first.kind
        if current is None or announced is not None or not is_joined:
            if current is not None:
                yield current
            current = _Stream(frame, place, place, announced, -1 if announced is not None else 0)
        place += frame.length
        current.frames, current.stop = current.frames + 1, place
    if current is not None:
        yield current


def after_id3(stream: BinaryIO, place: int = 0) -> int:
    """Offset behind the ID3v2 tag at ``place``, whose size is stored in four 7-bit bytes."""
    stream.seek(place)
    head = stream.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return place
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return place + 10 + size + (10 if head[5] & 0x10 else 0)


def _next_frame(stream: BinaryIO, place: int, size: int) -> int:
    """Offset of the next frame that another one (or the file's end) follows; ``size`` if none does soon."""
    limit = place + MOST_JUNK_BYTES
    while place < min(size, limit):
        behind_tag = after_id3(stream, place)
        limit, place = limit + behind_tag - place, behind_tag
        stream.seek(place)
        window = stream.read(SCAN_BYTES)
        for offset in _sync_bytes(window):
            frame = read_frame(window[offset : offset + 4])
            if frame is None:
                continue
            end = place + offset + frame.length
            stream.seek(end)
            following = read_frame(stream.read(4))
            if end == size or (following is not None and following.kind == frame.kind):
                return place + offset
        tag = window.find(b"ID3")
        place += tag if tag > 0 else max(len(window) - 3, 1)
    return size


def _sync_bytes(window: bytes) -> Iterator[int]:
    """Offsets of 0xFF up to the next ID3 tag, whose pictures may hold anything."""
    tag = window.find(b"ID3", 1)
    offset = window.find(b"\xff")
    while offset >= 0 and (tag < 0 or offset < tag):
        yield offset
        offset = window.find(b"\xff", offset + 1)


def _announced_frames(body: bytes, frame: Frame) -> int | None:
    """Number of frames that a Xing or Info header announces; None without such a header."""
    place = frame.side_information
    if body[place : place + 4] in (b"Xing", b"Info") and len(body) >= place + 12 and body[place + 7] & 1:
        return int.from_bytes(body[place + 8 : place + 12], "big")
    return None


def _with_size(frame: bytes, first: Frame, size: int) -> bytes:
    """A Xing frame with the size in bytes, where it has one, set right."""
    place = 4 + first.side_information + 12
    if not frame[place - 5] & 2:
        return frame
    return frame[:place] + size.to_bytes(4, "big") + frame[place + 4 :]
