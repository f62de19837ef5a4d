"""Lengths that are estimates, placeholders or lies; cut and damaged files; what is no recording at all."""

from __future__ import annotations

import io
import os
import random
import time

import numpy as np
import pytest
import soundfile

from tenuto.audio import SAMPLE_RATE, check_recording, load_and_describe, load_audio
from tenuto.audio.loading import decode
from tenuto.errors import AudioError, FileError, TenutoError

RANDOM = np.random.default_rng(0)
SOUND = 0.4 * np.sin(np.arange(2 * 24_000) ** 1.5 / 20) + RANDOM.uniform(-0.05, 0.05, 2 * 24_000)
"""Two seconds at 24 kHz, which all formats take."""


def encoded(kind: str, subtype: str | None = None, **settings) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, SOUND, 24_000, format=kind, subtype=subtype, **settings)
    return stream.getvalue()


def mp3_without_header(**settings) -> bytes:
    """Frames alone, as every pipe writes them: the first frame, which holds the number of frames, is left out."""
    content = encoded("MP3", **settings)
    return content[content.index(b"\xff\xf3", 4) :]


def at(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def flac(samples: int) -> bytes:
    """A FLAC file that announces so many samples."""
    content = encoded("FLAC")
    fields = int.from_bytes(content[18:26], "big")
    return at(content, 18, (fields >> 36 << 36 | samples).to_bytes(8, "big"))


WAV, AIFF, FLAC, OGG, OPUS, MP3 = (
    *(encoded(kind) for kind in ("WAV", "AIFF", "FLAC", "OGG")),
    encoded("OGG", "OPUS"),
    encoded("MP3"),
)
VBR = mp3_without_header(bitrate_mode="VARIABLE", compression_level=0.5)
DATA, SSND, COMM = WAV.index(b"data"), AIFF.index(b"SSND"), AIFF.index(b"COMM")
SIZES = [0, 2**32 - 1, 2**31 - 1, 2**31 - 4096, 0x7F000000]

SOUNDS = {"wav": WAV, "aiff": AIFF, "rf64": encoded("RF64"), "ogg": OGG}
TAILS = {"zeros": bytes(5000), "a tag": b"TAG" + bytes(125)}
WHOLE = {
    **{f"wav size {size:x}": at(WAV, DATA + 4, size.to_bytes(4, "little")) for size in SIZES},
    **{
        f"wav outer size {size:x}": at(WAV, 4, size.to_bytes(4, "little"))
        for size in (0, len(WAV), 2**32 - 1)
    },
    "wav without pad byte": at(encoded("WAV", "PCM_U8")[:-1], DATA + 4, (47_999).to_bytes(4, "little")),
    "wav with a tag": WAV + b"LIST\x04\0\0\0abcd",
    "wav with metadata of an editor": WAV + b"_PMX\x00\x20\0\0" + b"<" * 0x2000,
    "aiff with a copyright": AIFF + b"(c) \0\0\0\x04abcdAPPL\0\0\x20\0" + b"a" * 0x2000,
    "wav that miscounts its header": at(WAV, DATA + 4, (len(WAV) - DATA - 52).to_bytes(4, "little")),
    **{
        f"{name} before {end}": content + tail
        for name, content in SOUNDS.items()
        for end, tail in TAILS.items()
    },
    "flac before a tag": FLAC + TAILS["a tag"],
    **{f"aiff size {size:x}": at(AIFF, SSND + 4, size.to_bytes(4, "big")) for size in (*SIZES, 8)},
    **{f"aiff frames {count}": at(AIFF, COMM + 10, count.to_bytes(4, "big")) for count in (0, 2**31)},
    "rf64": encoded("RF64"),
    "flac unknown": flac(0),
    "flac too few": flac(1000),
    "flac": FLAC,
    "ogg": OGG,
    "opus": OPUS,
    "mp3": MP3,
    "mp3 without header": mp3_without_header(),
    "mp3 variable without header": VBR,
    "mp3 behind a tag": b"ID3\x03\0\0\0\0\x0f\x7f" + b"\xff\xfb\x90\x44" * 511 + bytes(3) + VBR,
    "mp3 before a tag": VBR + b"TAG" + bytes(125),
}
CUT = {
    "wav": WAV,
    "wav8": encoded("WAV", "PCM_U8"),
    "aiff": AIFF,
    "rf64": encoded("RF64"),
    "flac": FLAC,
    "flac unknown": flac(0),
    "ogg": OGG,
    "opus": OPUS,
    "mp3": MP3,
    "mp3 without header": VBR,
}


@pytest.fixture
def recording(tmp_path):
    """A function that writes a recording and gives its path."""

    def write(content: bytes):
        path = tmp_path / "song.bin"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
def test_a_whole_file_is_read_to_its_end(recording, content):
    path = recording(content)
    assert check_recording(path) == pytest.approx(2, abs=0.09)
    samples, _ = decode(path)
    tail = samples[-4800:-2400, 0]
    assert np.abs(tail).max() > 0.3


@pytest.mark.parametrize("content", CUT.values(), ids=CUT)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 1])
def test_a_cut_file_is_refused_by_name(recording, content, share):
    with pytest.raises(AudioError, match=r"song\.bin: (cut off|cannot be decoded)"):
        load_audio(recording(content[: round(share * len(content)) - 1]))


@pytest.mark.parametrize("content", [MP3, VBR, OGG, OPUS], ids=["mp3", "mp3 without header", "ogg", "opus"])
def test_joined_files_are_read_whole(recording, content):
    assert check_recording(recording(content * 3)) == pytest.approx(6, abs=0.2)


@pytest.mark.parametrize("tail", [MP3, WAV, encoded("RF64"), FLAC, AIFF])
@pytest.mark.parametrize("content", SOUNDS.values(), ids=SOUNDS)
def test_a_recording_behind_another_one_is_not_left_out(recording, content, tail):
    with pytest.raises(
        AudioError, match=r"song\.bin: \d+ bytes follow (its last page|the sound that its header)"
    ):
        check_recording(recording(content + tail))


@pytest.mark.parametrize(
    "content", [at(WAV, DATA + 4, (9600).to_bytes(4, "little")), at(AIFF, SSND + 6, b"\x25\x88")]
)
def test_sound_behind_the_announced_length_is_not_left_out(recording, content):
    """A recorder that lost its power has written the length of some moment before."""
    with pytest.raises(AudioError, match=r"song\.bin: \d+ bytes follow the sound that its header announces"):
        check_recording(recording(content))


def test_joined_parts_of_two_sample_rates_are_resampled_each(recording):
    stream = io.BytesIO()
    soundfile.write(stream, SOUND[:16_000], 8_000, format="MP3")
    path = recording(MP3 + stream.getvalue())
    assert len(load_audio(path)) == pytest.approx(4 * SAMPLE_RATE, rel=0.02)
    with pytest.raises(AudioError, match="different sample rates"):
        decode(path)


def test_a_frame_count_that_is_too_small_stops_nothing(recording):
    place = MP3.index(b"Xing") if b"Xing" in MP3 else MP3.index(b"Info")
    assert check_recording(recording(at(MP3, place + 8, (5).to_bytes(4, "big")))) == pytest.approx(
        2, abs=0.09
    )
    with pytest.raises(AudioError, match="cut off, about"):
        load_audio(recording(at(MP3, place + 8, (500).to_bytes(4, "big"))))


def test_a_variable_bit_rate_deceives_the_decoder_itself(recording):
    """Else the tests above show nothing."""
    assert soundfile.info(recording(VBR)).frames < 0.9 * len(SOUND)


@pytest.mark.parametrize("content", [flac(2**36 - 1), at(WAV, DATA + 4, b"\xf0\xff\xff\x6f")])
def test_a_huge_length_is_refused_quickly(recording, content):
    begun = time.perf_counter()
    with pytest.raises(AudioError, match="cut off"):
        load_audio(recording(content))
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_an_implausible_sample_rate_is_refused(recording, rate):
    with pytest.raises(AudioError, match=f"sample rate {rate} Hz, must be 1000 to 768000"):
        load_audio(recording(at(WAV, 24, rate.to_bytes(4, "little"))))


def test_a_recording_of_days_is_refused(recording, monkeypatch):
    monkeypatch.setattr("tenuto.audio.decoding.LONGEST_HOURS", 1 / 3600)
    with pytest.raises(AudioError, match="longer than"):
        load_audio(recording(WAV))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(recording, value):
    path = recording(b"")
    soundfile.write(path, np.array([0.1, value, 0.2]), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
        load_audio(path)


@pytest.mark.parametrize(
    "content", [b"", b"no audio at all" * 100, b"ID3" + bytes(200), WAV[:44], encoded("AU")]
)
def test_what_is_no_recording_is_refused_by_name(recording, content):
    with pytest.raises(AudioError, match=r"song\.bin: "):
        load_audio(recording(content))


def test_only_files_are_read(tmp_path):
    with pytest.raises(FileError, match=r"gone\.mp3"):
        load_audio(tmp_path / "gone.mp3")
    with pytest.raises(FileError, match=r"is a folder\. Name a recording"):
        load_audio(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(FileError, match="is a pipe or device"):
            load_audio(path)


def test_what_the_decoder_says_of_damage_is_kept_and_not_printed(recording, capfd):
    path = recording(VBR[:3000] + b"\x55" * 200 + VBR[3200:])
    description = load_and_describe(path)[1]
    assert description.warnings()[0].startswith("it is damaged (1 time, first: part2_3_length")
    assert capfd.readouterr().err == ""


def test_what_others_print_while_a_recording_is_decoded_is_passed_on(capfd):
    from tenuto.audio.stderr import decoder_messages

    with decoder_messages() as messages:
        os.write(2, b"epoch 3\nNote: Trying to resync...\n")
    assert messages == ["Note: Trying to resync..."]
    assert capfd.readouterr().err == "epoch 3\n"


def test_an_unreadable_disk_is_named(recording, monkeypatch):
    path = recording(WAV)

    def fail(self, buffer):
        self.failure = OSError(5, "Input/output error")
        return 0

    monkeypatch.setattr("tenuto.audio.containers.PieceReader.readinto", fail)
    with pytest.raises(TenutoError, match=r"song\.bin: cannot read: the disk"):
        load_audio(path)


def mutated(content: bytes, chance: random.Random) -> bytes:
    place, count = chance.randrange(len(content)), chance.randint(1, 400)
    return chance.choice(
        [
            lambda: content[:place],
            lambda: content[:place] + content[place + count :],
            lambda: at(content, place, bytes(count))[: len(content)],
            lambda: content[:place] + chance.randbytes(count) + content[place:],
            lambda: at(content, place, chance.randbytes(1)),
            lambda: at(content, chance.randrange(60), chance.randbytes(4)),
            lambda: at(
                content, chance.randrange(60), chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
            ),
        ]
    )()


def test_a_damaged_file_is_read_or_refused_by_name(recording):
    chance, refused, message = random.Random(0), 0, ""
    contents = [*CUT.values(), encoded("WAV", "MS_ADPCM"), encoded("WAV", "FLOAT"), MP3 + VBR, OGG + OPUS]
    for _ in range(250):
        path = recording(mutated(chance.choice(contents), chance))
        try:
            load_audio(path)
            continue
        except TenutoError as error:
            message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        refused += 1
    assert 50 < refused < 240
