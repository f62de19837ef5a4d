"""The network of the systems A2B2E, A2M2E and aA2B2E: audio to concepts to emotions."""

from __future__ import annotations

from tenuto.models.backbone import BackboneNetwork
from tenuto.models.heads import BottleneckHead
from tenuto.models.systems import register_network


@register_network("a2m2e")
class A2M2E(BackboneNetwork):
    """Backbone and two linear layers with a bottleneck of concepts between them."""

    has_concepts = True

    def __init__(self, emotions: int = 8, concepts: int = 7, width: float = 1.0) -> None:
        super().__init__(emotions, concepts, width)
        self.attach(BottleneckHead(self.backbone.features, concepts, emotions))
