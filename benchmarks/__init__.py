"""How fast Tenuto is: `python -m benchmarks` (or `make bench`) times it beside plain implementations."""
