"""A preload that no server may fork from: it starts a thread."""

import threading
import time
from collections.abc import Callable

TASKS: dict[str, Callable[..., None]] = {}


def warm_up() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
