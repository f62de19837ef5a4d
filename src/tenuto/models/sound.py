"""A network that takes log spectrograms as one differentiable module from samples to emotions.

Decoding, scaling to peak 1 and trimming stay in front of it, as for every waveform (`tenuto.audio.load_audio`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tenuto.audio.spectrogram import LogSpectrogram
from tenuto.data.excerpts import EXCERPT_FRAMES, Normalisation
from tenuto.models.heads import Prediction
from tenuto.models.systems import Network


class SoundNetwork(Network):
    """Front end, normalisation and network in one module.

    The front end computes in the type of the samples, also inside autocast.

    Args:
        network: Normalised excerpts (clips, 1, 313, 149) to `Prediction`.
        normalisation: Mean and deviation of the log magnitudes.

    Shape:
        - input: (clips, 221 843), the samples that the frames of an excerpt cover, 22 050 Hz
        - output: the `Prediction` of the network
    """

    def __init__(self, network: Network, normalisation: Normalisation) -> None:
        super().__init__(0, 0, 1.0)
        self.front_end, self.network, self.normalisation = LogSpectrogram(), network, normalisation
        self.has_gradient = network.has_gradient

    def forward(self, waveforms: Tensor) -> Prediction:
        """Predict waveforms (clips, 221 843)."""
        prediction: Prediction = self.network(self.excerpts(waveforms))
        return prediction

    def excerpts(self, waveforms: Tensor) -> Tensor:
        """What the network takes, (clips, 1, 313, 149), of waveforms (clips, 221 843)."""
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = self.front_end.frames(waveforms, 0, EXCERPT_FRAMES)
            return ((frames - self.normalisation.mean) / self.normalisation.deviation)[:, None]

    def simplify(self) -> None:
        """Make the network faster."""
        self.network.simplify()
