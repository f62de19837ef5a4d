"""Natural variation with strengths: the protocol natural-2.

Eleven kinds of change with five strengths each, fixed (`tenuto.store.natural.NATURAL_KINDS`). What is random (noise,
rooms, the direction of a change) is seeded with the content of the recording, and is the same at every strength.
"""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tenuto.audio import degradations
from tenuto.audio.loading import FULL_SCALE, decode, mix_down, resample
from tenuto.audio.mp3 import decoded, encode
from tenuto.data.batches import Batch
from tenuto.data.excerpts import fixed_starts
from tenuto.data.inputs import Inputs
from tenuto.devices import repeatable
from tenuto.evaluation.locking import one_process
from tenuto.evaluation.natural import Mp3Change, Progress, Recording, Waveform, variation_rows, without_norms
from tenuto.evaluation.records import origin_of
from tenuto.evaluation.runs import OpenedRun
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import predict
from tenuto.store.natural import GRADED_PROTOCOL, NATURAL_KINDS, change_name
from tenuto.store.rows import read_own_rows, write_rows

Values = NDArray[np.float32]
Variation = tuple[Waveform, str]
"""A waveform and its settings."""

MARGIN_SECONDS = 0.25
"""Music on both sides of the excerpt that is changed with it: more than a frame of the mp3 coder or the vocoder."""

EXCERPT = "excerpt"


@dataclass(frozen=True)
class Passage:
    """The excerpt of a recording with some music around it.

    Args:
        recording: The whole.
        seconds: Music on both sides of the excerpt, as far as there is any.
    """

    recording: Recording
    seconds: float = MARGIN_SECONDS

    @functools.cached_property
    def samples(self) -> slice:
        """Its place in the recording."""
        rate, excerpt = self.recording.rate, self.recording.excerpt
        begin = max(0, excerpt.start - round(self.seconds * rate))
        end = min(len(self.recording.waveform), excerpt.stop + round(self.seconds * rate))
        return slice(begin, end)

    @functools.cached_property
    def waveform(self) -> NDArray[np.float64]:
        """(samples,)."""
        return self.recording.waveform[self.samples].astype(np.float64)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.recording.rate

    @property
    def excerpt(self) -> slice:
        """The excerpt's place in the passage."""
        begin = self.samples.start
        return slice(
            self.recording.excerpt.start - begin, min(self.recording.excerpt.stop - begin, len(self.waveform))
        )

    def power(self, waveform: Waveform) -> float:
        """Mean square of the samples in the excerpt."""
        return float(np.square(waveform[self.excerpt]).mean())

    def at_level(self, waveform: Waveform) -> Waveform:
        """A changed waveform scaled so that the excerpt has the power it had."""
        power = self.power(waveform)
        return waveform * math.sqrt(self.power(self.waveform) / power) if power else waveform

    def random(self, kind: str) -> np.random.Generator:
        """The generator of one kind of change."""
        return np.random.default_rng([self.recording.seed, *kind.encode()])

    def cut_from(self, waveform: Waveform, wider: Passage) -> Waveform:
        """This passage of a waveform that covers a wider one."""
        return waveform[self.samples.start - wider.samples.start :][: len(self.waveform)]

    def placed(self, waveform: Waveform) -> Values:
        """A changed passage in its place in a recording that is silent elsewhere."""
        whole = np.zeros(len(self.recording.waveform), np.float32)
        whole[self.samples] = waveform
        return whole


def gain(passage: Passage) -> Iterator[Variation]:
    """Quieter. A recording whose peak is 1 cannot be louder without clipping."""
    for decibels in NATURAL_KINDS["gain"].values:
        yield degradations.gain(passage.waveform, decibels), f"Gain(decibels={decibels})"


def low_pass(passage: Passage) -> Iterator[Variation]:
    """Without high frequencies, as from a telephone or a small loudspeaker."""
    for hertz in NATURAL_KINDS["low-pass"].values:
        yield degradations.low_pass(passage.waveform, passage.rate, hertz), f"LowPass(hertz={hertz})"


def equaliser(passage: Passage) -> Iterator[Variation]:
    """Four of the eight octaves louder and four quieter, drawn for the recording; the excerpt keeps its level."""
    half = len(degradations.OCTAVES) // 2
    signs = passage.random("equaliser").permutation([1, -1] * half)
    pattern = "".join("+" if sign > 0 else "-" for sign in signs)
    for decibels in NATURAL_KINDS["equaliser"].values:
        waveform = degradations.equalise(passage.waveform, passage.rate, decibels * signs)
        yield passage.at_level(waveform), f"Equaliser(decibels={decibels}, octaves='{pattern}')"


def reverberation(passage: Passage) -> Iterator[Variation]:
    """In a synthetic room, the excerpt at its level."""
    values = NATURAL_KINDS["reverberation"].values
    wider = Passage(passage.recording, max(passage.seconds, *values))
    for seconds in values:
        response = degradations.room_response(seconds, passage.rate, passage.random("reverberation"))
        waveform = passage.cut_from(degradations.reverberate(wider.waveform, response), wider)
        yield passage.at_level(waveform), f"Reverberation(seconds={seconds})"


def noise(passage: Passage, colour: str) -> Iterator[Variation]:
    """With noise; the ratio is that of the powers in the excerpt."""
    kind = f"{colour} noise"
    added = degradations.NOISES[colour](len(passage.waveform), passage.rate, passage.random(kind))
    if power := passage.power(added):
        added /= math.sqrt(power)
    for decibels in NATURAL_KINDS[kind].values:
        waveform = degradations.add_noise(passage.waveform, added, decibels, passage.power(passage.waveform))
        yield waveform, f"Noise(kind='{colour}', decibels={decibels})"


def mp3(passage: Passage) -> Iterator[Variation]:
    """Coded as mp3 of constant bit rate from the file itself, stereo or mono, and decoded; the excerpt at its level."""
    recording = passage.recording
    samples, rate = decode(recording.path)
    mono = np.rint(np.clip(resample(mix_down(samples), rate, recording.rate), -1.0, 1.0) * FULL_SCALE)
    begin = int(np.flatnonzero(mono)[0]) + passage.samples.start
    # The piece begins where a sample of the file and one of the waveform coincide.
    whole = begin - begin % (recording.rate // math.gcd(rate, recording.rate))
    size = begin - whole + len(passage.waveform)
    piece = samples[whole * rate // recording.rate :][: math.ceil(size * rate / recording.rate)]
    for kilobits in NATURAL_KINDS["mp3"].values:
        content = encode(piece, rate, int(kilobits), str(recording.path))
        waveform = decoded(content, recording.rate)[begin - whole :][: len(passage.waveform)]
        waveform = np.pad(waveform, (0, len(passage.waveform) - len(waveform)))
        yield passage.at_level(waveform), repr(Mp3Change(int(kilobits)))


def pitch(passage: Passage) -> Iterator[Variation]:
    """Higher or lower, drawn for the recording, in the same time."""
    sign = passage.random("pitch").choice([1, -1])
    for percent in NATURAL_KINDS["pitch"].values:
        waveform = degradations.change_pitch(passage.waveform, passage.rate, 1 + sign * percent / 100)
        yield waveform, f"Pitch(percent={sign * percent:+g})"


def tempo(passage: Passage) -> Iterator[Variation]:
    """Faster or slower, drawn for the recording, at the same pitch; the middle of the excerpt stays where it is.

    Slower where the recording is too short to be faster.
    """
    values, excerpt = NATURAL_KINDS["tempo"].values, passage.recording.excerpt
    length = len(passage.recording.waveform)
    half = (min(excerpt.stop, length) - excerpt.start) / 2
    centre, reach = excerpt.start + half, (1 + max(values) / 100) * half
    has_room = centre - reach >= 0 and centre + reach <= length
    sign = passage.random("tempo").choice([1, -1]) if has_room else -1
    wider = Passage(passage.recording, MARGIN_SECONDS + (reach - half) / passage.rate)
    for percent in values:
        factor, fixed = 1 + sign * percent / 100, centre - wider.samples.start
        waveform = degradations.change_tempo(wider.waveform, passage.rate, factor, fixed)
        yield passage.cut_from(waveform, wider), f"Tempo(percent={sign * percent:+g})"


SOUND_CHANGES: dict[str, Callable[[Passage], Iterator[Variation]]] = {
    "gain": gain,
    "low-pass": low_pass,
    "equaliser": equaliser,
    "reverberation": reverberation,
    **{f"{colour} noise": functools.partial(noise, colour=colour) for colour in degradations.NOISES},
    "mp3": mp3,
    "pitch": pitch,
    "tempo": tempo,
}
"""Kind -> a passage at strengths 1 to 5. `EXCERPT` is the only other kind: it changes no sample."""


@repeatable
def graded(
    run: OpenedRun,
    part: str = "test",
    progress: Progress | None = None,
    before_piece: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Predictions for one part of the split under natural-2, also written to ``attacks/natural-2.csv``.

    Columns: see `tenuto.store.rows`; ``attack`` is "natural", ``objective`` the kind and strength, such as
    ``low-pass 3``, and ``settings`` the numbers. ``l2`` and ``linf`` measure the change of the network's input; another
    excerpt is no perturbation and has none. Rows that exist are read, and an interrupted call is continued.

    Args:
        run: The model and its clips; their audio files are read.
        part: ``test`` or another part of the split.
        progress: Called with 1 after every clip.
        before_piece: Called before each clip. What it raises ends the call; the clips before are kept.

    Raises:
        AudioError: A recording cannot be decoded.
        CheckpointError: There are rows that belong to earlier weights of the run.
        FileError: A recording is not where the data set has it, or mp3 cannot be written.
        TenutoError: Another process is measuring this run.
    """
    origin = origin_of(run)
    if run.files.has_natural(part, GRADED_PROTOCOL):
        return run.files.read_rows(GRADED_PROTOCOL, part)
    with one_process(run, GRADED_PROTOCOL, part):
        if run.files.has_natural(part, GRADED_PROTOCOL):  # by the process that had the lock
            return run.files.read_rows(GRADED_PROTOCOL, part)
        pieces = run.files.pieces(GRADED_PROTOCOL, part, origin["checkpoint"])
        clips = run.part(part)
        clean = predict(run.recogniser.network, clips.inputs)
        prepared, tables = run.material.prepared, []
        frames = fixed_starts([len(clip) for clip in prepared.spectrograms])
        for row, place in enumerate(prepared.places(clips.clips)):
            piece = pieces / f"{row:05d}.csv"
            if not piece.is_file():
                before_piece()
                write_rows(piece, _of_clip(run, part, clips, row, clean, frames[place]).assign(**origin))
            tables.append(read_own_rows(piece))
            if progress is not None:
                progress(1)
        rows = pd.concat(tables, ignore_index=True)
        write_rows(run.files.natural(part, GRADED_PROTOCOL), rows)
        for folder in run.files.all_pieces(GRADED_PROTOCOL, part):
            shutil.rmtree(folder)
    return rows


def _of_clip(
    run: OpenedRun, part: str, clips: Batch, row: int, clean: Prediction, frame: int
) -> pd.DataFrame:
    """The rows of one clip.

    Args:
        run: The model and its clips.
        part: Part of the split.
        clips: The clips of the part.
        row: Position of the clip among them.
        clean: Their predictions.
        frame: First frame of the clip's excerpt.
    """
    (place,) = run.material.prepared.places((clips.clips[row],))
    names, settings, waveforms = zip(*_variations(run, place, frame), strict=True)
    inputs, copies = torch.from_numpy(np.stack(waveforms)), torch.full((len(names),), row)
    concepts = None if clean.concepts is None else clean.concepts[copies]
    predictions = Prediction(clean.emotions[copies], concepts), predict(run.recogniser.network, inputs)
    table = variation_rows(
        run, GRADED_PROTOCOL, part, clips.take(copies), inputs, predictions, list(names), list(settings)
    )
    is_excerpt = table["objective"].str.startswith(EXCERPT)
    return pd.concat([table[~is_excerpt], without_norms(table[is_excerpt])], ignore_index=True)


def _variations(run: OpenedRun, place: int, frame: int) -> Iterator[tuple[str, str, Values]]:
    """Name, settings and input of every variation of a clip, given its place and the first frame of its excerpt."""
    prepared, inputs = run.material.prepared, run.recogniser.inputs
    steps = inputs.of_clip(prepared, place)
    start = inputs.start(frame, len(steps))
    passage = Passage(Recording.read(prepared.index.paths[place], start, inputs))
    for kind, change in SOUND_CHANGES.items():
        for strength, (waveform, settings) in enumerate(change(passage), 1):
            yield change_name(kind, strength), settings, inputs.excerpt(passage.placed(waveform), start)
    yield from _excerpts(inputs, steps, start)


def _excerpts(inputs: Inputs, steps: Values, start: int) -> Iterator[tuple[str, str, Values]]:
    """Excerpts some seconds away, on the side with more music; those for which there is no room are left out."""
    before, after = start, max(len(steps) - inputs.window, 0) - start
    for strength, seconds in enumerate(NATURAL_KINDS[EXCERPT].values, 1):
        distance = round(seconds * inputs.steps_per_second)
        if distance <= max(before, after):
            other = start + distance if after >= before else start - distance
            settings = f"OtherExcerpt(start={other}, instead_of={start})"
            yield change_name(EXCERPT, strength), settings, inputs.cut(steps, other)
