"""Training: the loop, and the adversarial step."""

from tenuto.training.adversarial import is_attacked, perturb
from tenuto.training.loop import run_folder, scored_concepts, train

__all__ = ["is_attacked", "perturb", "run_folder", "scored_concepts", "train"]
