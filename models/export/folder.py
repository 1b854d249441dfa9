"""Writes a trained candidate as a folder that transformers loads. Executes nothing of it. No torch, no transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from models.data.tokenization import Tokenizer
from models.export.copies import Copy, copies, listing
from models.export.tokenizer import end_id, write_tokenizer
from models.sandbox.wire import Array
from models.scale import ModelSize
from models.slots import slot_named

WEIGHTS = "model.safetensors"
_CONFIGURATION, _MODELING = "configuration_candidate", "modeling_candidate"
_PARTS = {"models.export.parts.configuration": _CONFIGURATION, "models.export.parts.modeling": _MODELING}
_LAYER, _FLA_LAYER = "models.export.parts.fla_layer", "fla_layer"
_SOFTMAX = "softmax_attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A candidate with the weights of one training."""

    source: str
    candidate_id: str
    slot: str
    size: ModelSize
    ffn_width: int
    seed: int
    length: int  # tokens in a sequence when it was trained
    weights: Mapping[str, Array]
    tokenizer: Tokenizer


def write_model(folder: Path, trained: Trained) -> Mapping[str, str]:
    """Write code, weights, configuration and tokeniser; every file of code with the file it was copied from.

    Raises:
        ValueError: the candidate's imports cannot be made relative, or a weight has a type that safetensors lacks.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = _code(trained)
    for copy in files:
        (folder / copy.name).write_text(copy.text, encoding="utf-8")
    _write_json(folder / "config.json", _config(trained))
    _write_json(folder / "generation_config.json", _generation(trained))
    write_tokenizer(folder, trained.tokenizer)
    write_weights(folder / WEIGHTS, trained.weights)
    return {copy.name: copy.origin for copy in files}


def write_weights(path: Path, weights: Mapping[str, Array]) -> None:
    """As safetensors. Raises ValueError for a type that it lacks."""
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in weights.items()}
    try:
        save_file(plain, path, metadata={"format": "pt"})
        path.chmod(0o644)  # it is written for its owner alone
    except (KeyError, ValueError, TypeError) as error:
        kinds = sorted({str(array.dtype) for array in plain.values()})
        raise ValueError(f"weights of types {', '.join(kinds)} cannot be written as safetensors: {error}") from error


def _code(trained: Trained) -> tuple[Copy, ...]:
    slot = slot_named(trained.slot)
    hosts = [f"models.{slot_named('token_mixer').folder}.{name}" for name in _host_mixers(trained)]
    layer = [] if slot.takes_width else [_LAYER]
    found = copies(trained.source, [*_PARTS, *layer, *hosts])
    named = {f"{flat}.py": f"{name}.py" for flat, name in _names().items()}
    files = []
    for copy in found:
        text = copy.text
        for flat, name in _names().items():
            text = text.replace(f"from .{flat} import", f"from .{name} import")
        files.append(Copy(name=named.get(copy.name, copy.name), origin=copy.origin, text=text))
    others = [copy for copy in files if copy.name not in (f"{_MODELING}.py", f"{_FLA_LAYER}.py")]
    return tuple(
        Copy(name=copy.name, origin=copy.origin, text=_with_listing(copy.text, others))
        if copy.name == f"{_MODELING}.py"
        else copy
        for copy in files
    )


def _names() -> dict[str, str]:
    """How transformers wants files of a model to be called."""
    return {module.replace(".", "_"): name for module, name in {**_PARTS, _LAYER: _FLA_LAYER}.items()}


def _with_listing(text: str, others: list[Copy]) -> str:
    return text.replace("from typing import Any\n", "from typing import TYPE_CHECKING, Any\n", 1) + listing(others)


def _host_mixers(trained: Trained) -> list[str]:
    slot = slot_named(trained.slot)
    softmax = [_SOFTMAX] if trained.size.softmax_layers else []
    return [*softmax, *([slot.token_mixer] if slot.token_mixer else [])]


def _config(trained: Trained) -> dict[str, Any]:
    slot, size = slot_named(trained.slot), trained.size
    return {
        "architectures": ["CandidateForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{_CONFIGURATION}.CandidateConfig",
            "AutoModelForCausalLM": f"{_MODELING}.CandidateForCausalLM",
        },
        "model_type": "searched_candidate",
        "candidate_id": trained.candidate_id,
        "candidate_in": "ffn" if slot.takes_width else "mixer",
        "entry": slot.entry,
        "host_mixer": slot.token_mixer,
        "softmax_layers": [*size.softmax_layers],
        "vocab_size": size.vocab_size,
        "hidden_size": size.hidden_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "intermediate_size": trained.ffn_width,
        "trained_length": trained.length,
        "init_seed": trained.seed,
        "eos_token_id": end_id(trained.tokenizer),
        "pad_token_id": end_id(trained.tokenizer),
        "tie_word_embeddings": False,
        "dtype": "float32",
        "use_cache": True,
        "made_with": f"architecture-research-orchestrator {version('architecture-research-orchestrator')}",
    }


def _generation(trained: Trained) -> dict[str, Any]:
    end = end_id(trained.tokenizer)
    return {"eos_token_id": end, "pad_token_id": end, "use_cache": True}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
