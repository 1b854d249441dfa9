from __future__ import annotations

import math

import numpy as np
import pytest

from agents.grammar.estimate import estimate_space, poisson_upper
from agents.grammar.mutate import mutate, random_genome
from agents.grammar.token_mixer.render import render
from agents.grammar.token_mixer.space import TOKEN_MIXERS
from cognition.novelty import SAME_BEHAVIOUR, nearest
from models.fingerprint import fingerprint
from models.loading import load_mixer

HIDDEN_SIZE = 32


def behaviour(source: str) -> tuple[float, ...]:
    mixer_class = load_mixer(source)
    return fingerprint(lambda layer: mixer_class(HIDDEN_SIZE, 4, layer), HIDDEN_SIZE)


@pytest.mark.parametrize("num", [8, pytest.param(40, marks=pytest.mark.nightly)])
def test_random_designs_and_their_mutants_all_behave_differently(num: int) -> None:
    rng = np.random.default_rng(0)
    genomes = [random_genome(TOKEN_MIXERS, rng) for _ in range(num)]
    prints = [behaviour(render(genome)) for genome in genomes]
    assert estimate_space(prints, SAME_BEHAVIOUR).num_collisions == 0
    for genome, before in zip(genomes[: num // 2], prints, strict=False):
        found = nearest(behaviour(render(mutate(TOKEN_MIXERS, genome, rng))), {"parent": before})
        assert found is not None
        assert found.distance > SAME_BEHAVIOUR


def test_the_estimate_finds_a_space_of_known_size() -> None:
    rng = np.random.default_rng(1)
    designs = rng.standard_normal((500, 8))
    found = estimate_space(designs[rng.integers(500, size=300)].tolist(), 1e-3)
    assert found.estimate == pytest.approx(500, rel=0.35)
    assert found.low < 500 < 2 * found.low
    unseen = estimate_space(designs[:100].tolist(), 1e-3)
    assert (unseen.num_collisions, unseen.estimate) == (0, None)
    assert unseen.low == pytest.approx(100**2 / 2 / -math.log(0.05))


def test_the_poisson_bound_is_the_textbook_one() -> None:
    assert [poisson_upper(count) for count in (0, 1, 10)] == pytest.approx([2.9957, 4.7439, 16.9622], abs=1e-3)


def test_too_few_fingerprints_are_refused() -> None:
    with pytest.raises(ValueError, match="two or more finite"):
        estimate_space([[1.0, 2.0]], 1e-3)
