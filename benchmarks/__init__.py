"""How fast Tenuto is: `python -m benchmarks` (or `make bench`) times it against plain implementations."""
