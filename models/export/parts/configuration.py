"""What an exported model is built from; transformers keeps it as config.json."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class CandidateConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes under the names that transformers has for them, and what of the host is not the candidate's."""

    model_type = "searched_candidate"

    def __init__(
        self,
        vocab_size: int = 256,
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 2,
        intermediate_size: int = 192,
        trained_length: int = 128,
        softmax_layers: tuple[int, ...] | list[int] = (),
        candidate_in: str = "mixer",
        entry: str = "TokenMixer",
        host_mixer: str | None = None,
        init_seed: int = 0,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        """Take the sizes.

        Args:
            vocab_size: tokens that embedding and head know.
            hidden_size: model width.
            num_hidden_layers: blocks.
            num_attention_heads: heads of a token mixer.
            intermediate_size: the feed-forward's inner width, matched in parameters.
            trained_length: tokens in a sequence when it was trained; nothing ends there.
            softmax_layers: blocks, from 0, whose token mixer is softmax attention.
            candidate_in: "mixer" or "ffn", the place that the candidate fills in a block.
            entry: its class in candidate.py.
            host_mixer: the token mixer around a candidate feed-forward.
            init_seed: what the training drew its first weights from; buffers that are not saved are drawn again.
            use_cache: decode step by step, where the mixers have that form.
            **kwargs: transformers' own.
        """
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.trained_length = trained_length
        self.softmax_layers = list(softmax_layers)
        self.candidate_in = candidate_in
        self.entry = entry
        self.host_mixer = host_mixer
        self.init_seed = init_seed
        self.use_cache = use_cache
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)
