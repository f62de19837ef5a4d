"""Training: the loop, and the adversarial step."""
