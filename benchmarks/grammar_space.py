"""Estimate how many designs that behave differently the grammar holds.

    python benchmarks/grammar_space.py --samples 2000

Writes benchmarks/results/grammar_space.json: the estimate, its lower bound and the versions it was made with.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agents.grammar.estimate import estimate_space
from agents.grammar.mutate import mutate, random_genome
from agents.grammar.token_mixer.genome import Genome
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from benchmarks.machine import RESULTS, write_result
from cognition.novelty import SAME_BEHAVIOUR, nearest, same_behaviour
from models.fingerprint import fingerprint
from models.loading import load_mixer

HIDDEN_SIZE, NUM_HEADS = 64, 4  # of the exploration stage at scale cpu


def builder_of(source: str) -> Callable[[int], nn.Module]:
    """What builds the mixer of a layer from its source."""
    mixer_class = load_mixer(source)
    return lambda layer: mixer_class(hidden_size=HIDDEN_SIZE, num_heads=NUM_HEADS, layer_idx=layer)


def silent_mutations(
    genomes: Sequence[Genome], prints: Sequence[tuple[float, ...]], rng: np.random.Generator
) -> list[str]:
    """Single mutations that leave behaviour as it was, as changes."""
    found: list[str] = []
    for genome, before in zip(genomes, prints, strict=False):
        mutant = mutate(TOKEN_MIXERS, genome, rng)
        after = fingerprint(builder_of(TOKEN_MIXERS.render(mutant)), HIDDEN_SIZE)
        if same_behaviour(nearest(after, {"parent": before})):
            found.append("; ".join(TOKEN_MIXERS.changes_between(genome, mutant)))
    return found


def main() -> None:
    """Sample, fingerprint, count coincidences, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--mutants", type=int, default=300, help="samples that are compared with a mutant of theirs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that grammar_space.json goes to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    genomes = [random_genome(TOKEN_MIXERS, rng) for _ in range(arguments.samples)]
    started = time.perf_counter()
    prints = [fingerprint(builder_of(TOKEN_MIXERS.render(genome)), HIDDEN_SIZE) for genome in genomes]
    silent = silent_mutations(genomes[: arguments.mutants], prints, rng)
    figures = {
        **asdict(estimate_space(prints, SAME_BEHAVIOUR)),
        "num_distinct_genomes": len(set(genomes)),
        "num_mutants": min(arguments.mutants, len(genomes)),
        "silent_mutations": silent,
        "threshold": SAME_BEHAVIOUR,
        "hidden_size": HIDDEN_SIZE,
        "num_heads": NUM_HEADS,
        "seed": arguments.seed,
        "duration_s": round(time.perf_counter() - started, 1),
        "examples": [TOKEN_MIXERS.name_of(genome) for genome in genomes[:5]],
    }
    write_result("grammar_space", figures, arguments.results)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
