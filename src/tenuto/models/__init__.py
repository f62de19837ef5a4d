"""Networks, and checkpoints that rebuild them."""

from tenuto.models.heads import Prediction
from tenuto.models.systems import Network, build, for_attack, load_reference_state

__all__ = ["Network", "Prediction", "build", "for_attack", "load_reference_state"]
