"""The network of the systems A2E and aA2E: audio to emotions."""

from __future__ import annotations

from tenuto.models.backbone import BackboneNetwork
from tenuto.models.heads import DirectHead
from tenuto.models.systems import register_network


@register_network("a2e")
class A2E(BackboneNetwork):
    """Backbone and one linear layer."""

    def __init__(self, emotions: int = 8, concepts: int = 7, width: float = 1.0) -> None:
        super().__init__(emotions, concepts, width)
        self.attach(DirectHead(self.backbone.features, emotions))
