"""Read before any test module is imported."""

import os
import shutil

# Without a GPU our Triton kernels run interpreted. Triton asks when it is imported, which any test module may do.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")
