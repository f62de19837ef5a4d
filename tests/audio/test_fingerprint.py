import numpy as np

from tenuto.audio.energy import loudness, onset_rate
from tenuto.audio.fingerprint import fingerprint
from tenuto.audio.spectrogram import log_spectrogram
from tests.corpora import music


def bits_of(waveform):
    return fingerprint(log_spectrogram(np.asarray(waveform, np.float32)))


def differing(first, second):
    return np.unpackbits((first ^ second).view(np.uint8)).mean()


def test_a_frame_of_music_has_32_bits_of_which_half_are_set():
    bits = bits_of(music(1))
    assert bits.shape == (188 - 17,)
    assert bits.dtype == np.uint32
    assert 0.35 < differing(bits, np.zeros_like(bits)) < 0.65


def test_the_level_leaves_most_bits():
    assert differing(bits_of(music(1)), bits_of(0.2 * music(1))) < 0.15


def test_other_music_has_other_bits():
    assert differing(bits_of(music(1)), bits_of(music(2))) > 0.35


def test_steady_sound_and_silence_have_no_bits():
    time = np.arange(66150) / 22050
    assert not bits_of(np.zeros(66150)).any()
    assert (bits_of(0.3 * np.sin(2 * np.pi * 440 * time))[:-17] == 0).mean() > 0.9


def test_sound_shorter_than_two_windows_has_no_fingerprint():
    assert len(bits_of(music(1, 0.5))) == 0


def test_loudness_is_that_of_the_stored_recording():
    square = np.tile([1.0, -1.0], 1000).astype(np.float32)
    assert loudness(square, -20.0) == -20.0
    assert np.isclose(loudness(np.sin(np.arange(44100) / 5).astype(np.float32), 0.0), -3.01, atol=0.01)


def test_the_onset_rate_grows_with_the_number_of_notes():
    rates = [onset_rate(log_spectrogram(music(1, rate=rate).astype(np.float32))) for rate in (1, 2, 4, 8)]
    assert rates == sorted(rates)
    assert onset_rate(np.ones((1, 149), np.float32)) == 0
