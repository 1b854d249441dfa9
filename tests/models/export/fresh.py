"""Run by a fresh interpreter that has transformers and nothing of ours: what it finds in folders, as JSON on stdout."""

import json
import sys
import tempfile
from pathlib import Path

for room in ("kernels", "models", "cognition", "orchestrator", "agents"):
    sys.modules[room] = None  # importing it raises ImportError

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

PROMPT = "def f(x):"


def found_in(folder: Path) -> dict[str, object]:
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    expected_BTV = torch.from_numpy(np.load(folder.with_suffix(".npy")))
    tokens_BT = torch.arange(expected_BTV.shape[1]).repeat(2, 1) * torch.tensor([[1], [3]]) % 251
    with torch.no_grad():
        logits_BTV = model(tokens_BT).logits
        prefix_BTV = model(tokens_BT[:, :17]).logits
        loss = model(tokens_BT, labels=tokens_BT).loss
        padded_BT = torch.nn.functional.pad(tokens_BT[:1], (5, 3))
        mask_BT = torch.nn.functional.pad(torch.ones_like(tokens_BT[:1]), (5, 3))
        padded_BTV = model(padded_BT, attention_mask=mask_BT).logits[:, 5:-3]
        stepped = gap(model(tokens_BT, use_cache=True).logits, logits_BTV) if model.decodes else None
        with tempfile.TemporaryDirectory() as again:
            model.save_pretrained(again)
            saved = AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True).eval()
            saved_gap = gap(saved(tokens_BT).logits, logits_BTV)
    hand = torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
    asked = tokenizer(PROMPT, return_tensors="pt")
    greedy = {"max_new_tokens": 12, "do_sample": False}
    cached, whole = model.generate(**asked, **greedy), model.generate(**asked, **greedy, use_cache=False)
    tokenizer.padding_side = "left"
    batch = tokenizer([PROMPT, "import numpy as np"], return_tensors="pt", padding=True)
    text = "d\u00e9f \u0100\n\x00 <pad> \u65e5"
    try:
        model(tokens_BT[:1, :4], attention_mask=torch.tensor([[1, 0, 1, 1]]))
        refused = ""
    except ValueError as error:
        refused = str(error)
    return {
        "gap": gap(logits_BTV, expected_BTV),
        "prefix_gap": gap(prefix_BTV, logits_BTV[:, :17]),
        "padded_gap": gap(padded_BTV, logits_BTV[:1]),
        "step_gap": stepped,
        "saved_gap": saved_gap,
        "loss_gap": abs(float(loss) - float(hand)),
        "generated": cached[0].tolist() == whole[0].tolist(),
        "batched": model.generate(**batch, **greedy)[0, -12:].tolist() == cached[0, -12:].tolist(),
        "beams": list(model.generate(**asked, max_new_tokens=4, num_beams=2).shape),
        "bytes": tokenizer(text)["input_ids"] == list(text.encode()) and tokenizer.decode(list(text.encode())) == text,
        "refused": refused,
    }


def gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


print(json.dumps({path: found_in(Path(path)) for path in sys.argv[1:]}))
