"""Let torch's own network code listen and connect.

step: trial
expect: honest
policy: refuses
"""

import torch

attempt("listen", lambda: torch.distributed.TCPStore("127.0.0.1", 0, 1, True, wait_for_workers=False))
