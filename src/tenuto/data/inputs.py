"""What a network takes: a log spectrogram, a waveform, or what a front end of the user's own makes of one.

A recording is a series of *steps* (frames of a spectrogram, samples of a waveform), and a network sees one *window* of
them. Excerpts of a clip begin at the same second of music whatever a network takes, so that models are compared on the
same music.
"""

from __future__ import annotations

import abc
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tenuto.attacks.axes import Axes
from tenuto.attacks.region import Region
from tenuto.audio.inversion import band_centres
from tenuto.audio.loading import SAMPLE_RATE
from tenuto.audio.spectrogram import FRAME_SIZE, FRAMES_PER_SECOND, HOP, frame_count, log_spectrogram
from tenuto.data.cache import Prepared
from tenuto.data.excerpts import (
    EXCERPT_FRAMES,
    SPECTROGRAM_UNIT,
    WAVEFORM_UNIT,
    Normalisation,
    cut,
    window_starts,
)
from tenuto.errors import AudioError, ConfigError, one_line

Values = NDArray[np.float32]
Range = tuple[float, float]

LARGEST_FLOAT = float(np.finfo(np.float32).max)
"""Largest value of an input, which is float32."""
LARGEST_IN_MEMORY = 2**28
"""Bytes of inputs up to which they are held in memory; larger arrays are in a temporary file that is mapped."""


class Inputs(abc.ABC):
    """How sound becomes the input of a network.

    Attributes:
        name: What configurations call it.
        sample_rate: Samples per second of the waveforms it takes.
        steps_per_second: Frames or samples per second.
        window: Steps that a network sees.
        unit: What an epsilon of a perturbation is measured in.
        valid_range: Lowest and highest value an input can have; None where nothing is known.
        axes: What the axes of inputs mean, for attacks on some seconds or frequencies; None where it is not known.
        is_sound: Whether an input is a waveform, which can be played.
    """

    name: ClassVar[str]
    is_sound: ClassVar[bool] = False
    sample_rate: int

    @property
    @abc.abstractmethod
    def steps_per_second(self) -> float: ...

    @property
    @abc.abstractmethod
    def window(self) -> int: ...

    @property
    @abc.abstractmethod
    def unit(self) -> str: ...

    @property
    def valid_range(self) -> Range | None:
        return None

    @property
    def axes(self) -> Axes | None:
        return None

    def check_region(self, region: Region | None) -> None:
        """Raise `ConfigError` for a part in seconds or Hz of inputs that have neither."""
        if region is not None and self.axes is None:
            raise ConfigError(
                f"{region!r} is in seconds or Hz, but the features that the model takes have neither. Leave `seconds` "
                "and `bands` out."
            )

    def steps(self, waveform: Values) -> Values:
        """The steps of a waveform (samples,) at `sample_rate`."""
        return waveform

    def of_clip(self, prepared: Prepared, place: int) -> Values:
        """The steps of a clip of a prepared data set."""
        return prepared.waveform(place, self.sample_rate)

    @abc.abstractmethod
    def of_window(self, steps: Values) -> Values:
        """What the network takes for exactly one window of steps."""

    def start(self, frame: int, steps: int) -> int:
        """First step of the excerpt that begins with a frame of the log spectrogram, in a clip of so many steps.

        The window is moved forward in time where the clip ends before it.
        """
        begin = math.floor(frame * self.steps_per_second / FRAMES_PER_SECOND)
        return min(begin, max(steps - self.window, 0))

    def window_starts(self, steps: int) -> list[int]:
        """First steps of the fewest windows that cover a recording of so many steps, evenly spaced."""
        return window_starts(steps, self.window)

    def refusal(self, steps: int) -> str | None:
        """Why a recording of so many steps cannot be attacked; None where it can."""
        return None

    def samples(self, start: int) -> slice:
        """The samples that the window at a step covers."""
        return slice(start, start + self.window)

    def cut(self, steps: Values, start: int) -> Values:
        """What the network takes for the window at a step; a shorter recording continues with its own beginning."""
        return self.of_window(cut(steps, start, self.window))

    def excerpt(self, waveform: Values, start: int) -> Values:
        """What the network takes for the window at a step of a waveform (samples,) at `sample_rate`."""
        return self.cut(self.steps(waveform), start)

    def windows(self, steps: Values, starts: Sequence[int]) -> Values:
        """The same for several windows, (n, ...)."""
        return stacked(lambda row: self.cut(steps, starts[row]), len(starts))

    def excerpts(self, prepared: Prepared, places: Sequence[int], frames: Sequence[int]) -> Values:
        """Excerpts of clips that begin with these frames of their log spectrograms, (clips, ...).

        Raises:
            AudioError: A clip is too short to be attacked, see `refusal`.
        """

        def excerpt(row: int) -> Values:
            steps = self.of_clip(prepared, places[row])
            if reason := self.refusal(len(steps)):
                raise AudioError(f"clip {prepared.index.clips[places[row]]}: {reason}")
            return self.cut(steps, self.start(frames[row], len(steps)))

        return stacked(excerpt, len(places))


@dataclass(frozen=True)
class LogSpectrogramInputs(Inputs):
    """Tenuto's log spectrogram, normalised: (1, 313, 149), ten seconds. What all networks of Tenuto take.

    Args:
        normalisation: Mean and deviation of the log magnitudes.
    """

    normalisation: Normalisation

    name: ClassVar[str] = "log-spectrogram"
    sample_rate: ClassVar[int] = SAMPLE_RATE  # type: ignore[misc]
    steps_per_second: ClassVar[float] = FRAMES_PER_SECOND
    window: ClassVar[int] = EXCERPT_FRAMES
    unit: ClassVar[str] = SPECTROGRAM_UNIT

    @property
    def valid_range(self) -> Range:
        """From silence, log10(1 + 0), normalised."""
        return -self.normalisation.mean / self.normalisation.deviation, math.inf

    @property
    def axes(self) -> Axes:
        return Axes(FRAMES_PER_SECOND, tuple(band_centres().tolist()))

    def steps(self, waveform: Values) -> Values:
        return log_spectrogram(waveform)

    def of_clip(self, prepared: Prepared, place: int) -> Values:
        return prepared.spectrograms[place]

    def of_window(self, steps: Values) -> Values:
        return self.normalisation(steps)[None]

    def excerpt(self, waveform: Values, start: int) -> Values:
        """The same without computing other frames."""
        end = start + self.window
        if end > frame_count(len(waveform)):
            return super().excerpt(waveform, start)
        return self.of_window(log_spectrogram(waveform, start, end))

    def start(self, frame: int, steps: int) -> int:
        return frame

    def samples(self, start: int) -> slice:
        last = start + EXCERPT_FRAMES - 1
        return slice(math.floor(start * HOP), math.floor(last * HOP) + FRAME_SIZE)


@dataclass(frozen=True)
class WaveformInputs(Inputs):
    """Samples between -1 and 1, (samples,): mono, as `tenuto.audio.load_audio` scales and trims them.

    Args:
        sample_rate: The model's own.
        seconds: Length of a window.
    """

    sample_rate: int
    seconds: float

    name: ClassVar[str] = "waveform"
    is_sound: ClassVar[bool] = True

    @property
    def steps_per_second(self) -> float:
        return float(self.sample_rate)

    @property
    def window(self) -> int:
        return round(self.sample_rate * self.seconds)

    @property
    def unit(self) -> str:
        return WAVEFORM_UNIT

    @property
    def valid_range(self) -> Range:
        return -1.0, 1.0

    @property
    def axes(self) -> Axes | None:
        return Axes(self.sample_rate)

    def of_window(self, steps: Values) -> Values:
        return steps


WINDOW_SAMPLES = math.floor((EXCERPT_FRAMES - 1) * HOP) + FRAME_SIZE
"""The samples that the frames of an excerpt cover, if its first frame begins at a whole multiple of the hop."""


@dataclass(frozen=True)
class FramedWaveformInputs(WaveformInputs):
    """The samples that the frames of a log spectrogram excerpt cover: 221 843, 10.06 s.

    Frame k of a recording begins at sample floor(k * hop), frame j of a window at floor(j * hop) of its samples. In a
    window that begins with frame k, frames begin at floor(k * hop) + floor(j * hop), which is floor((k + j) * hop) or
    one sample less. Samples behind the end of a recording are 0, as for the front end.
    """

    sample_rate: int = SAMPLE_RATE
    seconds: float = WINDOW_SAMPLES / SAMPLE_RATE

    def start(self, frame: int, steps: int) -> int:
        return math.floor(frame * HOP)

    def window_starts(self, steps: int) -> list[int]:
        return [self.start(frame, steps) for frame in window_starts(frame_count(steps))]

    def refusal(self, steps: int) -> str | None:
        if frame_count(steps) >= EXCERPT_FRAMES:
            return None
        least = (EXCERPT_FRAMES - 1) / FRAMES_PER_SECOND
        return (
            f"has {steps / SAMPLE_RATE:.2f} s without silence at its ends, an attack on the waveform of this model "
            f"needs {least:.2f} s. Leave it out, or attack spectrograms."
        )

    def cut(self, steps: Values, start: int) -> Values:
        if frame_count(len(steps)) < EXCERPT_FRAMES:
            return super().cut(steps, start)
        window = np.zeros(self.window, np.float32)
        part = steps[start : start + self.window]
        window[: len(part)] = part
        return window


@dataclass(frozen=True)
class FeatureInputs(WaveformInputs):
    """What a function of the user's makes of a window of samples: a fixed shape of its own. Attacks enter there.

    Args:
        front_end: Its name, such as ``package.module:function``.
        function: Waveform (samples,) at ``sample_rate`` to an array.
    """

    front_end: str
    function: Callable[[Values], Any] = field(repr=False, compare=False)

    name: ClassVar[str] = "features"
    is_sound: ClassVar[bool] = False

    @property
    def unit(self) -> str:
        return f"units of {self.front_end}"

    @property
    def valid_range(self) -> None:  # type: ignore[override]
        return None

    @property
    def axes(self) -> None:
        return None

    def of_window(self, steps: Values) -> Values:
        try:
            features = np.asarray(self.function(np.array(steps)))
        except Exception as error:  # code of the user's can fail in any way
            raise ConfigError(
                f"{self.front_end}: the front end failed on a waveform of shape {steps.shape} "
                f"({type(error).__name__}: {one_line(error)})."
            ) from error
        is_real = features.dtype.kind in "fiub"
        if not (features.ndim and is_real and (np.abs(features) <= LARGEST_FLOAT).all()):
            reason = "NaN or infinity" if is_real else f"the type {features.dtype}"
            raise ConfigError(
                f"{self.front_end}: the front end must return an array of finite numbers, got "
                f"{reason if features.ndim else 'one number'}."
            )
        return features.astype(np.float32, copy=False)


def stacked(make: Callable[[int], Values], count: int) -> Values:
    """Arrays of one shape as one array (count, ...), in a mapped temporary file where they are large.

    Raises:
        ConfigError: The arrays have different shapes.
    """
    first = make(0)
    shape = (count, *first.shape)
    values: Values = (
        np.empty(shape, np.float32)
        if count * first.nbytes <= LARGEST_IN_MEMORY
        else np.memmap(
            tempfile.TemporaryFile(),  # noqa: SIM115
            np.float32,
            "w+",
            shape=shape,
        )
    )
    for row in range(count):
        value = first if row == 0 else make(row)
        if value.shape != first.shape:
            raise ConfigError(
                f"inputs of shapes {first.shape} and {value.shape}: a front end must return the same shape for every "
                "window."
            )
        values[row] = value
    return values
