"""Notes to waveform: the playing half of the synthetic corpus.

Every pitched note reads a band-limited wavetable, one for its bright beginning and one for its darker end,
under an envelope. `tenuto.audio` scales every recording to peak 1, so loudness is not a matter of level here
but of playing: loud clips are saturated, brighter, drummed and steady, soft clips swell and recede.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from tenuto.data.synthesis_controls import Clip, Controls, generator
from tenuto.data.synthesis_score import Layer, compose

Samples = NDArray[np.float32]

CORPUS_RATE = 44_100
PEAK = 0.5
"""Head room: saturated music comes back from an mp3 encoder with peaks almost twice as high."""

TABLE_SIZE = 8_192
MOST_HARMONICS = 40
NOTE_FADE_SECONDS = 0.02
REVERB_SECONDS = 0.5
REVERB_LEVEL = 0.10


@dataclasses.dataclass(frozen=True)
class Timbre:
    """A family of instruments.

    Args:
        attack: Seconds until a note is full.
        decay: Decrease of level per second of a held note, in nepers.
        release: Seconds a note takes to end.
        even: Level of even harmonics (0 is hollow, 1 is full).
        fading: How fast brightness leaves a note, per second.
        vibrato: Depth in semitones.
    """

    attack: float
    decay: float
    release: float
    even: float
    fading: float
    vibrato: float


TIMBRES = {
    "struck": Timbre(attack=0.004, decay=1.6, release=0.08, even=1.0, fading=6.0, vibrato=0.0),
    "plucked": Timbre(attack=0.003, decay=3.0, release=0.06, even=0.7, fading=9.0, vibrato=0.0),
    "bowed": Timbre(attack=0.070, decay=0.1, release=0.10, even=0.9, fading=0.0, vibrato=0.25),
    "reed": Timbre(attack=0.030, decay=0.2, release=0.05, even=0.25, fading=0.0, vibrato=0.10),
    "organ": Timbre(attack=0.015, decay=0.0, release=0.05, even=1.0, fading=0.0, vibrato=0.0),
    "bass": Timbre(attack=0.008, decay=1.2, release=0.05, even=0.8, fading=5.0, vibrato=0.0),
}


def render(clip: Clip, seed: int, seconds: float) -> Samples:
    """The waveform of a clip, shape (44100 * seconds,), mono float32 with peak 0.5.

    It depends on the clip, the seed and the length alone.
    """
    random = generator(seed, "score", clip.number)
    samples = round(seconds * CORPUS_RATE)
    layers = compose(clip.controls, clip.album, seconds, random)
    mix = np.zeros(samples, np.float32)
    for layer in layers:
        (play if layer.instrument in TIMBRES else _beat)(mix, layer, clip.controls, random)
    room = generator(seed, "room", clip.album.number)
    return _finish(_reverberate(mix, room), clip.controls)


def wavetable(harmonics: int, slope: float, even: float) -> Samples:
    """One period of a tone of peak 1, shape (8192,): levels are h**-slope, times ``even`` for even h."""
    number = np.arange(1, harmonics + 1)
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, np.complex128)
    spectrum[1 : harmonics + 1] = -1j * number**-slope * np.where(number % 2 == 0, even, 1.0)
    period = np.fft.irfft(spectrum)
    return np.asarray(period / np.abs(period).max(), np.float32)


def _slope(controls: Controls) -> float:
    """Decay exponent of the harmonics at a note's beginning; playing loud makes a tone brighter, too."""
    return 2.9 - 2.2 * (0.65 * controls.brightness + 0.35 * controls.loudness)


def play(mix: Samples, layer: Layer, controls: Controls, random: np.random.Generator) -> None:
    """Add the notes of a pitched layer to the mix, shape (samples,), in place."""
    timbre = TIMBRES[layer.instrument]
    slope = _slope(controls)
    tables: dict[tuple[int, float], Samples] = {}

    def table(harmonics: int, steepness: float) -> Samples:
        key = (harmonics, steepness)
        if key not in tables:
            tables[key] = wavetable(harmonics, steepness, timbre.even)
        return tables[key]

    phases = random.random(len(layer.onset))
    for onset, duration, pitch, velocity, phase in zip(
        layer.onset, layer.duration, layer.pitch, layer.velocity, phases, strict=True
    ):
        start = int(onset * CORPUS_RATE)
        count = min(int((duration + timbre.release) * CORPUS_RATE), len(mix) - start)
        if count <= 0:
            continue
        frequency = 440.0 * 2 ** ((pitch - 69) / 12)
        harmonics = int(np.clip(0.4 * CORPUS_RATE / frequency, 1, MOST_HARMONICS))
        time = np.arange(count, dtype=np.float32) / np.float32(CORPUS_RATE)
        place = _places(time, frequency, phase, timbre.vibrato)
        tone = table(harmonics, slope)[place]
        if timbre.fading:
            dark = table(harmonics, slope + 1.5)[place]
            tone = dark + (tone - dark) * np.exp(np.float32(-timbre.fading) * time)
        mix[start : start + count] += tone * _envelope(time, duration, velocity, timbre, controls)


def _places(time: Samples, frequency: float, phase: float, vibrato: float) -> NDArray[np.int64]:
    """Wavetable positions of a note: cycles since its start, with an optional vibrato of 5.5 Hz."""
    cycles = np.arange(len(time)) * (frequency / CORPUS_RATE) + phase
    if vibrato:
        rate = 2 * math.pi * 5.5
        cycles += frequency * (2 ** (vibrato / 12) - 1) / rate * (1 - np.cos(np.float32(rate) * time))
    return (cycles * TABLE_SIZE).astype(np.int64) % TABLE_SIZE


def _envelope(time: Samples, duration: float, velocity: float, timbre: Timbre, controls: Controls) -> Samples:
    """Level of a note over time. Soft legato playing begins gently, loud or staccato playing at once."""
    gentle = (1 - controls.articulation) * (1 - controls.loudness)
    attack = timbre.attack + 0.08 * gentle
    rise = (time / np.float32(attack)).clip(0, 1)
    fall = ((np.float32(duration + timbre.release) - time) / np.float32(timbre.release)).clip(0, 1)
    level: Samples = np.float32(velocity) * rise * fall * np.exp(np.float32(-timbre.decay) * time)
    return level


def _beat(mix: Samples, layer: Layer, controls: Controls, random: np.random.Generator) -> None:
    """Add the hits of a drum to the mix."""
    hit = _drum(layer.instrument, random)
    for onset, velocity in zip(layer.onset, layer.velocity, strict=True):
        start = int(onset * CORPUS_RATE)
        count = min(len(hit), len(mix) - start)
        if count > 0:
            mix[start : start + count] += np.float32(velocity) * hit[:count]


def _drum(name: str, random: np.random.Generator) -> Samples:
    """One hit: a falling sine (kick), noise over a short tone (snare), or the bright part of noise (hat)."""
    seconds = {"kick": 0.22, "snare": 0.16, "hat": 0.06}[name]
    time = np.arange(int(seconds * CORPUS_RATE)) / CORPUS_RATE
    noise = random.standard_normal(len(time))
    if name == "kick":
        wave = 1.2 * np.sin(2 * math.pi * (45 * time - 3.0 * np.exp(-30 * time)))
    elif name == "snare":
        wave = 0.25 * noise + 0.3 * np.sin(2 * math.pi * 190 * time)
    else:
        wave = 0.10 * np.diff(noise, prepend=0.0)
    return (wave * np.exp(-5 * time / seconds) * (1 - time / seconds)).astype(np.float32)


def _reverberate(mix: Samples, random: np.random.Generator) -> Samples:
    """The mix in a small room: decaying noise as impulse response, one per album."""
    from scipy.fft import irfft, next_fast_len, rfft

    time = np.arange(int(REVERB_SECONDS * CORPUS_RATE)) / CORPUS_RATE
    response = random.standard_normal(len(time)) * np.exp(-7 * time / REVERB_SECONDS)
    response *= REVERB_LEVEL / np.sqrt(np.square(response).sum())
    response[0] = 1.0
    size = next_fast_len(len(mix) + len(response), real=True)
    spectrum = rfft(mix, size) * rfft(response.astype(np.float32), size)
    return np.asarray(irfft(spectrum, size)[: len(mix)], np.float32)


def _finish(mix: Samples, controls: Controls) -> Samples:
    """Dynamics, saturation, faded ends, and the peak.

    Soft playing swells and recedes by up to 16 dB, so that most of it is well below its own peak; loud
    playing keeps its level and saturates. This difference survives any scaling.
    """
    seconds = np.arange(len(mix), dtype=np.float32) / CORPUS_RATE
    depth = np.float32(16 * (1 - controls.loudness) / 20 * math.log(10))
    mix = (
        mix
        / np.abs(mix).max()
        * np.exp(-depth * (0.5 + 0.5 * np.cos(2 * math.pi * seconds / np.float32(4.0))))
    )
    drive = np.float32(0.5 + 6 * controls.loudness**2)
    mix = np.tanh(drive * mix / np.abs(mix).max())
    fade = np.minimum(seconds, seconds[::-1]) / np.float32(NOTE_FADE_SECONDS)
    mix = mix * fade.clip(0, 1)
    return np.asarray(mix * (PEAK / np.abs(mix).max()), np.float32)
