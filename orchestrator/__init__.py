"""The campaign: the loop, selection, actors, the trial engine and the report."""

import os

# Numpy reads it when it is imported. The driver's matrices are small, and on many cores numpy's threads spin for longer
# than they compute: 2.6 times the driver's processor time in a simulated campaign of 10,000 candidates.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
