"""Controls and ratings of synthetic clips, drawn from a seed, without audio.

A clip has eleven controls between 0 and 1. Seven are the mid-level concepts themselves, four are tempo,
loudness, register and brightness. Two hidden numbers per clip, arousal and gloom, make controls go together
as they do in music, and the album adds an offset of its own. The eight emotions follow from the controls by
`EMOTION_WEIGHTS`. Clip k depends on the seed and on k alone: a small corpus is the beginning of a large one.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from tenuto.data.midlevel import CONCEPTS
from tenuto.data.soundtracks import EMOTIONS

Floats = NDArray[np.float64]

EMOTION_SCALE = (1.0, 9.0)
CONCEPT_SCALE = (1.0, 10.0)
RATER_NOISE = 0.25
"""Standard deviation, in rating points, of a mean rating around what the formula says."""

ALBUM_SHARE = 0.35
"""Weight of the album's offset relative to the clip's own draw (0: none)."""

ALBUMS_PER_BLOCK = 8
CLIPS_PER_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class Controls:
    """The generator's controls, each from 0 to 1; the first seven are the concepts.

    Args:
        melodiousness: 0 leaping, 1 stepwise melody.
        articulation: 0 legato, 1 staccato.
        rhythmic_complexity: Share of syncopated beats.
        rhythmic_stability: 0 wavering, 1 steady tempo.
        dissonance: 0 plain triads, 1 semitone clusters out of tune.
        tonal_stability: 0 half of the harmony outside the key, 1 all of it inside.
        modality: Minorness: 0 major, 1 minor.
        tempo: 0 slow, 1 fast.
        loudness: 0 soft, 1 loud playing.
        register: 0 low, 1 high.
        brightness: 0 dark, 1 bright timbre.
    """

    melodiousness: float
    articulation: float
    rhythmic_complexity: float
    rhythmic_stability: float
    dissonance: float
    tonal_stability: float
    modality: float
    tempo: float
    loudness: float
    register: float
    brightness: float

    def vector(self) -> Floats:
        """The controls in the order of `CONTROLS`, shape (11,)."""
        return np.array(dataclasses.astuple(self))


CONTROLS = tuple(field.name for field in dataclasses.fields(Controls))

CHARACTER_LOADINGS: dict[str, tuple[float, float]] = {
    "melodiousness": (-0.30, -0.45),
    "articulation": (0.60, -0.10),
    "rhythmic_complexity": (0.35, 0.20),
    "rhythmic_stability": (0.10, -0.50),
    "dissonance": (0.15, 0.80),
    "tonal_stability": (0.00, -0.65),
    "modality": (-0.10, 0.75),
    "tempo": (0.75, -0.15),
    "loudness": (0.75, 0.10),
    "register": (0.10, -0.60),
    "brightness": (0.60, -0.10),
}
"""How much of each control comes from the clip's hidden arousal and gloom."""

EMOTION_WEIGHTS: dict[str, tuple[float, dict[str, float]]] = {
    "valence": (
        0.0,
        {"dissonance": -1.0, "modality": -0.7, "tonal_stability": 0.5, "melodiousness": 0.5, "register": 0.4},
    ),
    "energy": (
        0.0,
        {"loudness": 1.0, "tempo": 0.8, "articulation": 0.4, "brightness": 0.4, "rhythmic_complexity": 0.2},
    ),
    "tension": (
        0.0,
        {"dissonance": 1.0, "loudness": 0.6, "modality": 0.5, "tonal_stability": -0.4, "melodiousness": -0.3},
    ),
    "anger": (
        -1.1,
        {
            "loudness": 1.2,
            "dissonance": 1.1,
            "register": -0.5,
            "modality": 0.4,
            "brightness": 0.4,
            "tempo": 0.3,
        },
    ),
    "fear": (
        -0.9,
        {
            "dissonance": 1.2,
            "tonal_stability": -0.7,
            "rhythmic_stability": -0.5,
            "modality": 0.5,
            "register": -0.3,
        },
    ),
    "happy": (
        -0.7,
        {
            "modality": -1.0,
            "tempo": 0.9,
            "dissonance": -0.8,
            "articulation": 0.5,
            "register": 0.4,
            "loudness": 0.3,
        },
    ),
    "sad": (
        -0.8,
        {"tempo": -0.9, "modality": 0.8, "loudness": -0.7, "articulation": -0.6, "brightness": -0.4},
    ),
    "tender": (
        -0.8,
        {"loudness": -1.1, "dissonance": -0.8, "tempo": -0.5, "articulation": -0.5, "melodiousness": 0.5},
    ),
}
"""Per emotion a bias and the weights of the controls; see `emotions`."""


@dataclasses.dataclass(frozen=True)
class Album:
    """What the clips of one album share: key, players, harmony, accompaniment, and an offset per control."""

    number: int
    tonic: int
    melody: str
    chords: str
    progression: int
    figure: str
    offsets: tuple[float, ...]

    @property
    def name(self) -> str:
        """The album's name in the track list."""
        return f"Synthetic Album {self.number + 1:02d}"


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip before it sounds: number (from 1), album, track, controls, and its ratings as written to file.

    Shapes: emotions (8,) on 1-9, concepts (7,) on 1-10, both with two decimals.
    """

    number: int
    album: Album
    track: int
    controls: Controls
    emotions: tuple[float, ...]
    concepts: tuple[float, ...]


def generator(seed: int, stream: str, number: int) -> np.random.Generator:
    """An independent random generator for one purpose and one clip, album or block."""
    return np.random.default_rng([seed, int.from_bytes(stream.encode(), "big"), number])


def draw(clips: int, seed: int) -> tuple[Clip, ...]:
    """The first ``clips`` clips of the corpus of this seed, numbered from 1."""
    return tuple(draw_clip(number, seed) for number in range(1, clips + 1))


def draw_clip(number: int, seed: int) -> Clip:
    """Clip ``number`` (from 1) of the corpus of this seed; the same whatever the size of the corpus."""
    block, place = divmod(number - 1, CLIPS_PER_BLOCK)
    slot = int(generator(seed, "block", block).permutation(CLIPS_PER_BLOCK)[place])
    track, album_in_block = divmod(slot, ALBUMS_PER_BLOCK)
    album = draw_album(block * ALBUMS_PER_BLOCK + album_in_block, seed)
    random = generator(seed, "clip", number)
    controls = draw_controls(album, random)
    return Clip(
        number=number,
        album=album,
        track=track + 1,
        controls=controls,
        emotions=_rate(emotions(controls), EMOTION_SCALE, random),
        concepts=_rate(concepts(controls), CONCEPT_SCALE, random),
    )


def draw_album(number: int, seed: int) -> Album:
    """Album ``number`` (from 0) of the corpus of this seed."""
    random = generator(seed, "album", number)
    return Album(
        number=number,
        tonic=int(random.choice([-5, 0, 5])),
        melody=str(random.choice(["struck", "bowed", "reed", "plucked"])),
        chords=str(random.choice(["struck", "bowed", "organ", "plucked"])),
        progression=int(random.integers(4)),
        figure=str(random.choice(["block", "broken"])),
        offsets=tuple(random.standard_normal(len(CONTROLS)).tolist()),
    )


def draw_controls(album: Album, random: np.random.Generator) -> Controls:
    """Controls of one clip: Gaussian parts of total variance 1, sent through their distribution function.

    Each control is therefore uniform on 0-1 over many albums, yet correlated with the others through arousal,
    gloom and album.
    """
    arousal, gloom = random.standard_normal(2)
    own = random.standard_normal(len(CONTROLS))
    values = []
    for name, offset, rest in zip(CONTROLS, album.offsets, own, strict=True):
        on_arousal, on_gloom = CHARACTER_LOADINGS[name]
        explained = on_arousal**2 + on_gloom**2 + ALBUM_SHARE**2
        score = (
            on_arousal * arousal + on_gloom * gloom + ALBUM_SHARE * offset + math.sqrt(1 - explained) * rest
        )
        values.append(0.5 * (1 + math.erf(score / math.sqrt(2))))
    return Controls(*values)


def emotions(controls: Controls) -> Floats:
    """The eight emotions on the 1-9 scale before rater noise, shape (8,).

    rating = 1 + 8 * logistic(bias + sum of weight * (2 * control - 1)), with `EMOTION_WEIGHTS`.
    """
    centred = dict(zip(CONTROLS, 2 * controls.vector() - 1, strict=True))
    low, high = EMOTION_SCALE
    sums = []
    for emotion in EMOTIONS:
        bias, weights = EMOTION_WEIGHTS[emotion]
        sums.append(bias + sum(weight * centred[name] for name, weight in weights.items()))
    rating: Floats = low + (high - low) / (1 + np.exp(-np.array(sums)))
    return rating


def concepts(controls: Controls) -> Floats:
    """The seven concepts on the 1-10 scale before rater noise, shape (7,): 1 + 9 * control."""
    low, high = CONCEPT_SCALE
    rating: Floats = low + (high - low) * np.array([getattr(controls, name) for name in CONCEPTS])
    return rating


def _rate(exact: Floats, scale: tuple[float, float], random: np.random.Generator) -> tuple[float, ...]:
    noisy = exact + RATER_NOISE * random.standard_normal(exact.shape)
    return tuple(np.round(noisy.clip(*scale), 2).tolist())
