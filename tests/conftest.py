"""Read before any test module is imported."""

import os
import shutil

# Keys and servers of whoever runs the tests: no test may ask a model that it has not started itself.
for _name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
    os.environ.pop(_name, None)

# Without a GPU our Triton kernels run interpreted. Triton asks when it is imported, which any test module may do.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")
