"""How long until a child with torch says its first word: forked by the server, against a fresh interpreter.

`python benchmarks/child_start.py` prints both times and their ratio, and writes benchmarks/results/child_start.json.
The fork server's own start is paid once per Ray worker and stated beside them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from models.sandbox.parent import ForkServer

NUM_FORKS = 40
NUM_INTERPRETERS = 5


def time_fork(server: ForkServer) -> float:
    """Seconds from spawn to the first message of a child in which torch is imported."""
    began = time.perf_counter()
    with server.spawn(
        "score",
        {
            "size": {"num_layers": 1, "hidden_size": 8, "num_heads": 1, "ffn_width": 8, "vocab_size": 8},
            "slot": "token_mixer",
        },
        deadline_s=60,
    ) as child:
        child.send("count", {"shapes": {}})
        child.receive()
        return time.perf_counter() - began


def time_interpreter() -> float:
    """Seconds from start to the first output of a fresh interpreter that imports torch."""
    began = time.perf_counter()
    code = "import torch; print(torch.__version__, flush=True)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print and write the result."""
    time_interpreter()  # the first one reads torch from disk
    fresh_s = statistics.median(time_interpreter() for _ in range(NUM_INTERPRETERS))
    began = time.perf_counter()
    with ForkServer() as server:
        server.start()
        server_s = time.perf_counter() - began
        time_fork(server)
        forked_s = statistics.median(time_fork(server) for _ in range(NUM_FORKS))
    figures = {
        "forked_child_s": round(forked_s, 4),
        "fresh_interpreter_s": round(fresh_s, 4),
        "ratio": round(fresh_s / forked_s, 1),
        "server_start_s": round(server_s, 3),
        "num_forks": NUM_FORKS,
        "num_interpreters": NUM_INTERPRETERS,
    }
    write_result("child_start", figures)
    print(f"forked child with torch: {forked_s * 1e3:.1f} ms to its first message (median of {NUM_FORKS})")
    print(f"fresh interpreter importing torch: {fresh_s * 1e3:.0f} ms (median of {NUM_INTERPRETERS})")
    print(f"ratio: {fresh_s / forked_s:.1f}; the server itself starts once, in {server_s:.1f} s")


if __name__ == "__main__":
    main()
