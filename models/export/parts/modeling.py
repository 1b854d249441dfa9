"""The trained model for transformers: embedding, blocks with the candidate in them, norm, head.

Weights have the names that they were trained under. Decoding is recurrent where every token mixer has a `step`: the
state of a sequence does not grow, a prompt is read token by token. Elsewhere, for padded batches and for beams, the
whole sequence is computed at every token.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from models.blocks import Block, FeedForward
from models.export.parts.configuration import CandidateConfig
from models.fla_style import in_host_style

IGNORED = -100
_SOFTMAX = "softmax_attention"


class RecurrentState:
    """What decoding carries along: one state for each block, and how many tokens they have seen."""

    is_compileable = False

    def __init__(self) -> None:
        self.blocks: list[Any] = []
        self.num_seen = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.num_seen

    def get_max_cache_shape(self) -> None:
        """None: there is no longest sequence."""


class CandidateForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The language model that was trained."""

    config_class = CandidateConfig
    main_input_name = "input_ids"
    _is_stateful = True  # states cannot be rolled back, as assisted generation would
    _no_split_modules = ("Block",)

    def __init__(self, config: CandidateConfig) -> None:
        super().__init__(config)
        # On the CPU whatever the caller has set: transformers builds on "meta", where tensors that are neither
        # parameters nor saved buffers would lose their values.
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.init_seed)
            self.embedding: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
            self.blocks = nn.ModuleList(_block(config, layer) for layer in range(config.num_hidden_layers))
            self.norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
            self.head: nn.Module = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._has_no_step = False
        self._kept = {name: buffer.clone() for name, buffer in self.named_buffers() if name not in self.state_dict()}
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, which leaves buffers that are not saved uninitialised: they get their values back."""
        found = super().from_pretrained(*args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        for name, value in model._kept.items():
            room, _, leaf = name.rpartition(".")
            buffers = model.get_submodule(room)._buffers
            buffers[leaf] = value.to(model.norm.weight.device, buffers[leaf].dtype)
        return found

    @property
    def decodes(self) -> bool:
        """Whether every token mixer has a step form."""
        return not self._has_no_step and all(callable(getattr(block.mixer, "step", None)) for block in self.blocks)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: RecurrentState | None = None,
        use_cache: bool | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits [B, T, V], the mean loss of predicting `labels` [B, T] (-100 does not count), the state.

        `attention_mask` [B, T] may hide tokens before and behind a sequence. With `past_key_values` the tokens
        continue the ones that it has seen.

        Raises:
            ValueError: a mask with holes, a mask together with a state, or a state where there is no step form.
        """
        pads = _pads(attention_mask)
        state = None
        if use_cache or past_key_values is not None:
            if not self.decodes:
                raise ValueError("a token mixer of this model has no step form: call it with use_cache=False")
            if pads is not None:
                raise ValueError("states of padded sequences are not kept: call it with use_cache=False, or one by one")
            try:
                hidden_BTD, state = self._continued(input_ids, past_key_values)
            except NotImplementedError:  # a layer in fla's style that takes a cache and never fills it
                self._has_no_step = True
                hidden_BTD = self._whole(input_ids)
        elif pads is None:
            hidden_BTD = self._whole(input_ids)
        else:
            hidden_BTD = self._without_padding(input_ids, pads)
        kept_BTD = hidden_BTD[:, -logits_to_keep:] if isinstance(logits_to_keep, int) else hidden_BTD[:, logits_to_keep]
        logits_BTV = self.head(kept_BTD)
        loss = None if labels is None else _loss(logits_BTV, labels)
        if return_dict is False:
            return tuple(item for item in (loss, logits_BTV, state) if item is not None)
        return CausalLMOutputWithPast(loss=loss, logits=logits_BTV, past_key_values=state)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers. With beams, and where there is no step form, without a state: it cannot be reordered."""
        config = kwargs.get("generation_config") or self.generation_config
        beams = kwargs.get("num_beams") or config.num_beams or 1
        if beams > 1 or not self.decodes:
            kwargs["use_cache"] = False
        return super().generate(*args, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        past_key_values: RecurrentState | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What the next call of forward gets: the tokens that the state has not seen, or all of them."""
        if not use_cache or _pads(attention_mask) is not None:
            return {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        seen = past_key_values.num_seen if past_key_values is not None else 0
        return {"input_ids": input_ids[:, seen:], "past_key_values": past_key_values, "use_cache": True}

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embedding = value

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.head = new_embeddings

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # it makes its own

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: modules draw their own, and files hold all that was trained."""

    def _whole(self, input_ids: Tensor) -> Tensor:
        x_BTD = self.embedding(input_ids)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        normed_BTD: Tensor = self.norm(x_BTD)
        return normed_BTD

    def _continued(self, input_ids: Tensor, past: RecurrentState | None) -> tuple[Tensor, RecurrentState]:
        """Hidden states token by token, and the state after the last one; the given one stays as it was."""
        state = RecurrentState()
        state.blocks = [None] * len(self.blocks) if past is None else list(past.blocks)
        state.num_seen = input_ids.shape[1] + (0 if past is None else past.num_seen)
        outputs = []
        for token_B in input_ids.unbind(1):
            x_BD = self.embedding(token_B)
            for layer, block in enumerate[Any](self.blocks):
                mixed_BD, state.blocks[layer] = block.mixer.step(block.mixer_norm(x_BD), state.blocks[layer])
                x_BD = x_BD + mixed_BD
                x_BD = x_BD + block.ffn(block.ffn_norm(x_BD).unsqueeze(1)).squeeze(1)
            outputs.append(self.norm(x_BD))
        return torch.stack(outputs, 1), state

    def _without_padding(self, input_ids: Tensor, pads: list[tuple[int, int]]) -> Tensor:
        """Each sequence from its own first token on; what a mask hides gives zeros."""
        hidden_BTD = self.norm.weight.new_zeros(*input_ids.shape, self.config.hidden_size)
        for first, last in set(pads):
            if first < last:
                rows = [row for row, pad in enumerate(pads) if pad == (first, last)]
                hidden_BTD[rows, first:last] = self._whole(input_ids[rows, first:last])
        return hidden_BTD


def _block(config: CandidateConfig, layer: int) -> Block:
    own = _SOFTMAX if layer in config.softmax_layers else config.host_mixer
    second = config.num_attention_heads if config.candidate_in == "mixer" else config.intermediate_size
    if own is None:
        mixer = _candidate(config)(config.hidden_size, second, layer_idx=layer)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed_of(f"{config.init_seed}/blocks.{layer}.mixer"))
            mixer = _class(f".models_baselines_{own}", "TokenMixer")(
                config.hidden_size, config.num_attention_heads, layer_idx=layer
            )
    if config.candidate_in == "ffn":
        return Block(config.hidden_size, mixer, _candidate(config)(config.hidden_size, second, layer_idx=layer))
    return Block(config.hidden_size, mixer, FeedForward(config.hidden_size, config.intermediate_size))


def _candidate(config: CandidateConfig) -> Any:
    found = _class(".candidate", config.entry)
    return in_host_style(found) if config.candidate_in == "mixer" else found


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module, __package__), name)


def _seed_of(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")


def _pads(mask_BT: Tensor | None) -> list[tuple[int, int]] | None:
    """Where each sequence begins and ends; None where nothing is hidden. Raises ValueError for holes."""
    if mask_BT is None or bool(mask_BT.bool().all()):
        return None
    if mask_BT.dim() != 2:
        raise ValueError(f"attention_mask has shape {tuple(mask_BT.shape)}; give [B, T]")
    found = []
    for row in mask_BT.bool().tolist():
        first = row.index(True) if True in row else len(row)
        last = first + sum(row)
        if not all(row[first:last]):
            raise ValueError("attention_mask has holes; it may hide tokens before and behind a sequence alone")
        found.append((first, last))
    return found


def _loss(logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    predicted = logits_BTV[:, :-1].flatten(0, 1).float()
    return F.cross_entropy(predicted, labels_BT[:, 1:].flatten().to(predicted.device), ignore_index=IGNORED)
