"""Is an MPEG audio file whole? Decoders read half a file without complaint, so we count its frames.

Frame header layout and the bit-rate and sample-rate tables: ISO/IEC 11172-3 and 13818-3, section 2.4.
"""

from __future__ import annotations

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


def missing_bytes(content: bytes) -> int:
    """How many bytes the last MPEG frame of ``content`` lacks; 0 for a whole file or for no MPEG audio.

    Where the encoder wrote the number of frames into the first one (Xing or Info header), whole frames that are
    missing at the end count too, by their mean length.
    """
    start = position = _after_id3(content)
    frames = 0
    while position + 4 <= len(content):
        length = _frame_length(content, position)
        if length == 0:
            break  # a tag or padding behind the last frame
        if position + length > len(content):
            return position + length - len(content)
        position += length
        frames += 1
    announced = _announced_frames(content, start)
    # The header frame itself is announced by some encoders and not by others, so one frame is no evidence.
    if frames and announced - frames > 1:
        return (announced - frames) * (position - start) // frames
    return 0


def _after_id3(content: bytes) -> int:
    """Offset behind an ID3v2 tag, whose size is stored in four 7-bit bytes."""
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 0x7F
    footer = 10 if content[5] & 0x10 else 0
    position = 10 + size + footer
    while position < len(content) and content[position] == 0:
        position += 1
    return position


def _frame_length(content: bytes, position: int) -> int:
    """Length in bytes of the frame that begins at ``position``; 0 where none does."""
    first, second, third, _ = content[position : position + 4]
    if first != 0xFF or second & 0xE0 != 0xE0:
        return 0
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    rate_index, sample_index, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if version == 1 or layer == 4 or rate_index in (0, 15) or sample_index == 3:
        return 0
    bits = (_RATES_V1 if version == 3 else _RATES_V2)[layer][rate_index] * 1000
    sample_rate = _SAMPLE_RATES[version][sample_index]
    if layer == 1:
        return (12 * bits // sample_rate + padding) * 4
    slots = 72 if layer == 3 and version != 3 else 144
    return slots * bits // sample_rate + padding


def _announced_frames(content: bytes, start: int) -> int:
    """Number of frames a Xing or Info header announces; 0 where there is no such header."""
    head = content[start : start + 200]
    for mark in (b"Xing", b"Info"):
        place = head.find(mark)
        if place > 0 and len(head) >= place + 12 and head[place + 7] & 1:
            return int.from_bytes(head[place + 8 : place + 12], "big")
    return 0
