"""Minimal pairs: two texts that differ in one agreement, of which a language model should find the right one likelier.

Built from templates and made-up names, scored in the sealed evaluation without any training of their own.
"""

from models.minimal_pairs.spec import PAIRS, PairSpec, pair_set

__all__ = ["PAIRS", "PairSpec", "pair_set"]
