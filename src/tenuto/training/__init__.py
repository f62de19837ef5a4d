"""Training: the loop, and the adversarial step."""

from tenuto.training.adversarial import is_attacked, perturbed
from tenuto.training.loop import run_folder, scored_concepts, train

__all__ = ["is_attacked", "perturbed", "run_folder", "scored_concepts", "train"]
