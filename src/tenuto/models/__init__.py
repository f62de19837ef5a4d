"""Networks, recognisers, and checkpoints that rebuild them."""

from tenuto.models.a2e import A2E
from tenuto.models.a2m2e import A2M2E
from tenuto.models.checkpoint import import_run, load, save
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import Profile, Recogniser, predict
from tenuto.models.released import load_reference_state
from tenuto.models.systems import NETWORKS, Network, build, check_network, for_attack, register_network

__all__ = [
    "A2E",
    "A2M2E",
    "NETWORKS",
    "Network",
    "Prediction",
    "Profile",
    "Recogniser",
    "build",
    "check_network",
    "for_attack",
    "import_run",
    "load",
    "load_reference_state",
    "predict",
    "register_network",
    "save",
]
