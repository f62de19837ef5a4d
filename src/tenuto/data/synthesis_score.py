"""Controls to notes: the composing half of the synthetic corpus.

A clip is a melody over chords and a bass, with drums when the playing is loud and a string cluster when it is
dissonant. Time runs on a grid of sixteenth notes whose beats may waver; harmony changes once or twice a bar.
Wherever a control is a share (of syncopated beats, of minor chords, of steps) that share is dealt out exactly
and then shuffled, so that what sounds follows the control closely even in ten seconds.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tenuto.data.synthesis_controls import Album, Controls, Floats

Ints = NDArray[np.int64]

MAJOR_SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
MINOR_SCALE = np.array([0, 2, 3, 5, 7, 8, 10])
PROGRESSIONS = ((0, 3, 4, 0), (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4))
"""Roots of four-chord rounds as scale degrees counted from 0 (I-IV-V-I, I-V-vi-IV, ...)."""

STEPS_PER_BEAT = 4
SYNCOPATED_CELLS = ((3,), (1, 3), (2,), (0, 3), (1, 2, 3), (0, 1, 3))
"""Where notes of one beat begin, in sixteenths, when the beat is syncopated."""

FOREIGN_SHIFTS = (-4, -1, 1, 6)
"""Semitones by which a chord outside the key is moved."""

SLOWEST_BPM = 54.0
TEMPO_OCTAVES = 1.55
SHORTEST_NOTE_SECONDS = 0.06
LONGEST_NOTE_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Layer:
    """Notes of one player, or hits of one drum.

    Args:
        instrument: Name of a timbre in `tenuto.data.synthesis_sound`.
        onset: Seconds from the start, shape (notes,).
        duration: Seconds, shape (notes,).
        pitch: MIDI note number, fractions allowed, shape (notes,).
        velocity: Linear amplitude, shape (notes,).
    """

    instrument: str
    onset: Floats
    duration: Floats
    pitch: Floats
    velocity: Floats


@dataclasses.dataclass(frozen=True)
class ScorePlan:
    """Time and harmony of one clip.

    Args:
        times: Seconds at which each sixteenth begins, and the end, shape (16ths + 1,).
        beats: Number of beats.
        chord_steps: Sixteenths per chord.
        degree: Root of each chord as a scale degree, shape (chords,).
        minor: Whether each chord takes the minor scale, shape (chords,).
        shift: Offset of each chord from the key in semitones, shape (chords,).
        tonic: MIDI note number of the key note in the middle register.
    """

    times: Floats
    beats: int
    chord_steps: int
    degree: Ints
    minor: NDArray[np.bool_]
    shift: Ints
    tonic: int

    def pitch(self, step: Ints, degree: Ints) -> Floats:
        """MIDI note number of a scale degree (any octave) in the harmony that holds at a sixteenth."""
        chord = step // self.chord_steps
        octave, place = np.divmod(degree, len(MAJOR_SCALE))
        scale = np.where(self.minor[chord], MINOR_SCALE[place], MAJOR_SCALE[place])
        return np.asarray(self.tonic + self.shift[chord] + 12 * octave + scale, np.float64)


def compose(
    controls: Controls, album: Album, seconds: float, random: np.random.Generator
) -> tuple[Layer, ...]:
    """All layers of a clip, the melody first; drums have a layer for each drum and pitch 0."""
    plan = _plan(controls, album, seconds, random)
    layers = [
        _melody(plan, controls, album, random),
        _chords(plan, controls, album, random),
        _bass(plan, controls, random),
        _strings(plan, controls, random),
    ]
    return (*layers, *_drums(plan, controls, random))


def spread(share: float, count: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """A shuffled mask of shape (count,) that is true for ``share`` of its entries, rounded at random."""
    dealt = np.floor(share * np.arange(count + 1) + random.random())
    return random.permutation(np.diff(dealt) > 0)


def _plan(controls: Controls, album: Album, seconds: float, random: np.random.Generator) -> ScorePlan:
    bpm = SLOWEST_BPM * 2 ** (TEMPO_OCTAVES * controls.tempo)
    waver = 0.6 * (1 - controls.rhythmic_stability)
    # A wavering beat is at least a quarter of a steady one, so four times the beats always fill the clip.
    lengths = 60 / bpm * np.exp(waver * random.standard_normal(int(seconds * bpm / 15) + 8)).clip(0.25, 4.0)
    beats = int(np.searchsorted(np.cumsum(lengths), seconds)) + 1
    times = np.concatenate([[0.0], np.cumsum(np.repeat(lengths[:beats] / STEPS_PER_BEAT, STEPS_PER_BEAT))])
    chord_steps = STEPS_PER_BEAT * (4 if bpm > 100 else 2)
    chords = beats * STEPS_PER_BEAT // chord_steps + 1
    foreign = spread(0.7 * (1 - controls.tonal_stability), chords, random)
    return ScorePlan(
        times=times,
        beats=beats,
        chord_steps=chord_steps,
        degree=np.resize(np.array(PROGRESSIONS[album.progression]), chords),
        minor=spread(float(np.clip(1.5 * controls.modality - 0.25, 0, 1)), chords, random),
        shift=np.where(foreign, random.choice(FOREIGN_SHIFTS, chords), 0),
        tonic=60 + album.tonic,
    )


def _rhythm(
    plan: ScorePlan, complexity: float, plain: tuple[tuple[int, ...], ...], random: np.random.Generator
) -> Ints:
    """Sixteenths at which notes begin: per beat a plain cell, or a syncopated one after the first beat."""
    steps: list[int] = []
    for beat, syncopated in enumerate(spread(complexity, plan.beats, random)):
        cells = SYNCOPATED_CELLS if syncopated and beat else plain
        steps += [STEPS_PER_BEAT * beat + step for step in cells[random.integers(len(cells))]]
    return np.array(steps, np.int64)


def _placed(
    plan: ScorePlan, controls: Controls, steps: Ints, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Onsets and durations in seconds: the grid, an unsteady player's jitter, the articulation's gate."""
    beat_seconds = plan.times[-1] / plan.beats
    onset = plan.times[steps]
    gap = np.diff(np.append(onset, plan.times[-1]))
    jitter = 0.25 * beat_seconds * (1 - controls.rhythmic_stability) * random.standard_normal(len(steps))
    jitter[steps == 0] = 0  # All begin together, so that no clip begins with silence.
    gate = 1.08 - 0.93 * controls.articulation
    return (onset + jitter).clip(0), (gap * gate).clip(SHORTEST_NOTE_SECONDS, LONGEST_NOTE_SECONDS)


def _untuned(pitch: Floats, controls: Controls, random: np.random.Generator) -> Floats:
    return pitch + 0.2 * controls.dissonance**2 * random.standard_normal(pitch.shape)


def _octave_near(pitch: Floats, centre: float) -> Floats:
    """The same notes in the octave around ``centre``: chords close together, and never out of key."""
    near: Floats = pitch - 12 * np.round((pitch - centre) / 12)
    return near


def _melody(plan: ScorePlan, controls: Controls, album: Album, random: np.random.Generator) -> Layer:
    steps = _rhythm(plan, controls.rhythmic_complexity, ((0,), (0, 2)), random)
    onset, duration = _placed(plan, controls, steps, random)
    degree = _contour(len(steps), controls.melodiousness, random) + round(15 * controls.register - 4)
    pitch = plan.pitch(steps, degree)
    pitch = pitch + spread(0.3 * (1 - controls.tonal_stability), len(steps), random)
    velocity = np.where(steps % STEPS_PER_BEAT == 0, 1.0, 0.85) * (0.4 + 0.8 * controls.melodiousness)
    rubbed = spread(controls.dissonance**2, len(steps), random)
    pitch = np.concatenate([pitch, pitch[rubbed] + 1])
    return Layer(
        instrument=album.melody,
        onset=np.concatenate([onset, onset[rubbed]]),
        duration=np.concatenate([duration, duration[rubbed]]),
        pitch=_untuned(pitch, controls, random),
        velocity=np.concatenate([velocity, 0.7 * velocity[rubbed]]),
    )


def _contour(notes: int, melodiousness: float, random: np.random.Generator) -> Ints:
    """Scale degrees of a melody, shape (notes,): a phrase of intervals, repeated and kept in reach."""
    phrase = min(notes, 12)
    stepwise = spread(melodiousness, phrase, random)
    sizes = np.where(stepwise, 1, random.integers(5, 12, phrase))
    keeps = np.where(stepwise, random.random(phrase) < 0.7, random.random(phrase) < 0.2)
    reach = 4 + round(8 * (1 - melodiousness))
    degrees, place, direction = [], 0, 1
    for note in range(notes):
        degrees.append(place)
        size, keep = int(sizes[note % phrase]), bool(keeps[note % phrase])
        direction = direction if keep else -direction
        if abs(place + direction * size) > reach:
            direction = -1 if place > 0 else 1
        place += direction * size
    return np.array(degrees, np.int64)


def _chords(plan: ScorePlan, controls: Controls, album: Album, random: np.random.Generator) -> Layer:
    steps = _rhythm(plan, 0.7 * controls.rhythmic_complexity, ((0,),), random)
    onset, duration = _placed(plan, controls, steps, random)
    if album.figure == "broken":
        voices = np.arange(len(steps))[:, None] * np.array([[1, 1]]) % 3 * 2 + np.array([[0, 2]])
    else:
        voices = np.broadcast_to(np.array([[0, 2, 4]]), (len(steps), 3))
    degree = plan.degree[steps // plan.chord_steps][:, None] + voices
    pitch = _octave_near(plan.pitch(steps[:, None], degree), 45 + 24 * controls.register)
    clustered = spread(controls.dissonance, pitch.size, random).reshape(pitch.shape)
    notes = np.concatenate([pitch.ravel(), pitch[clustered] + random.choice([-1, 1], int(clustered.sum()))])
    row = np.broadcast_to(np.arange(len(steps))[:, None], pitch.shape)
    row = np.concatenate([row.ravel(), row[clustered]])
    return Layer(
        instrument=album.chords,
        onset=onset[row],
        duration=duration[row],
        pitch=_untuned(notes, controls, random),
        velocity=np.full(len(row), 0.33),
    )


def _bass(plan: ScorePlan, controls: Controls, random: np.random.Generator) -> Layer:
    steps = _rhythm(plan, 0.5 * controls.rhythmic_complexity, ((0,),), random)
    onset, duration = _placed(plan, controls, steps, random)
    fifth = np.where(steps // STEPS_PER_BEAT % 2 == 1, 4, 0)
    pitch = plan.pitch(steps, plan.degree[steps // plan.chord_steps] + fifth)
    pitch = _octave_near(pitch, 34 + 10 * controls.register)
    return Layer("bass", onset, duration, pitch, np.full(len(steps), 0.4 + 0.5 * controls.loudness))


def _strings(plan: ScorePlan, controls: Controls, random: np.random.Generator) -> Layer:
    """A high cluster of six neighbouring semitones on every chord, louder the more dissonant the clip is."""
    steps = np.arange(0, STEPS_PER_BEAT * plan.beats, plan.chord_steps)
    onset, duration = _placed(plan, controls, steps, random)
    lowest = _octave_near(
        plan.pitch(steps, plan.degree[steps // plan.chord_steps]), 86 + 6 * controls.register
    )
    pitch = (lowest[:, None] + np.arange(6)).ravel()
    velocity = np.full(len(pitch), 0.6 * max(0.0, (controls.dissonance - 0.2) / 0.8))
    return Layer("bowed", np.repeat(onset, 6), np.repeat(duration, 6), pitch, velocity)


def _drums(plan: ScorePlan, controls: Controls, random: np.random.Generator) -> list[Layer]:
    level = max(0.0, (controls.loudness - 0.3) / 0.7)
    if level == 0:
        return []
    layers = []
    for drum, beats, plain in (
        ("kick", (0, 2), (0,)),
        ("snare", (1, 3), (0,)),
        ("hat", (0, 1, 2, 3), (0, 2)),
    ):
        steps = _rhythm(plan, 0.8 * controls.rhythmic_complexity, (plain,), random)
        steps = steps[np.isin(steps // STEPS_PER_BEAT % 4, beats)]
        onset, duration = _placed(plan, controls, steps, random)
        still = np.zeros(len(steps))
        layers.append(Layer(drum, onset, duration, still, still + level))
    return layers
