"""`python -m benchmarks`."""

import os

# Small matrix products inside a loop over frames must not be spread over cores; NumPy reads this on import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.app import command

command()
