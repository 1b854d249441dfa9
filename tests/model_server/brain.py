"""What the scripted model says: plausible answers for every role, made from what it is asked.

Researchers answer with random designs of the grammar, whole or as edits; those of even numbers read the future, and the
engineer finds that line and takes it out by an edit. Judges, analysts and summaries answer in their forms.
The same question has the same answer.
"""

from __future__ import annotations

import json
import re

from agents.grammar.mutate import random_genome
from agents.grammar.spaces import SPACES
from tests.cognition.documents import values
from tests.model_server.server import Asked

_ROLE = re.compile(r"^# Role: (\w+)", flags=re.M)
LEAK = "        x = x + x.flip(1)\n"
_FORWARD = "        return self.mix(x, None)\n"
_RETURN = re.compile(r"^(\s+)return (self\.\w+\(.*\))$", flags=re.M)


def role_of(asked: Asked) -> str:
    found = _ROLE.search(asked.system)
    return found.group(1) if found else "unknown"


def answer(asked: Asked) -> str:
    """The scripted answer to a question of any role."""
    match role_of(asked):
        case "researcher" | "engineer":
            return proposal(asked)
        case "judge":
            rng = asked.rng()
            scores = {name: round(float(rng.uniform(2, 9)), 1) for name in ("innovation", "complexity")}
            return json.dumps({"reasoning": "scripted", **scores})
        case "analyst" if "worn_out" in asked.user:
            cited = re.findall(r"\[([0-9a-f]{16})\]", asked.user)[:2]
            return json.dumps(
                {"text": "Gates on the state help; filters alone do not.", "works": ["gates"], "cites": cited}
            )
        case "analyst":
            trials = re.findall(r"[0-9a-f]{16}-explore-s\d+", asked.user)[:1]
            claim = {"statement": "The change moves the loss.", "against": "baseline", "evidence": trials}
            return json.dumps({"expectation": "unclear", "claims": [claim]})
        case "librarian":
            return paper(asked)
        case "summary":
            return "Delta rules lead; filters alone did not pay."
    return "I do not know what I am asked."


def paper(asked: Asked) -> str:
    """A paper's fields: its first line is the title, and its idea is always the same."""
    lines = asked.user.split("```text\n")[-1].splitlines()
    return json.dumps(values(title=(lines or ["Nothing"])[0].strip("# ")[:200] or "Nothing"))


def proposal(asked: Asked) -> str:
    """A random design of the slot that the contract names; sometimes an edit of the source that was shown."""
    slot = "channel_mixer" if "class ChannelMixer" in asked.system else "token_mixer"
    rng = asked.rng()
    head = {
        "name": f"scripted_{int(rng.integers(10**6))}",
        "changes": ["memory: another -> this"],
        "expectation": "a lower loss",
    }
    front = f"The parent forgets; this design keeps more.\n\n```json\n{json.dumps(head)}\n```\n\n"
    if role_of(asked) == "engineer" and LEAK in asked.user:
        return f"{front}```\n<<<<<<< SEARCH\n{LEAK}=======\n>>>>>>> REPLACE\n```\n"
    leaks = any(int(number) % 2 == 0 for number in re.findall(r"for proposal (\d+):", asked.user))
    shown = re.findall(r"```python\n(.*?)```", asked.user, flags=re.S)
    if not leaks and shown and rng.random() < 0.3 and len(_RETURN.findall(shown[0])) == 1:
        found = _RETURN.search(shown[0])
        assert found is not None
        line, scale = found.group(0).strip("\n"), round(float(rng.uniform(0.5, 0.95)), 3)
        changed = f"{found.group(1)}return {scale} * {found.group(2)}"
        return f"{front}```\n<<<<<<< SEARCH\n{line}\n=======\n{changed}\n>>>>>>> REPLACE\n```\n"
    space = SPACES[slot]
    source = space.render(random_genome(space, rng))
    if leaks:
        source = source.replace(_FORWARD, LEAK + _FORWARD, 1)
    return f"{front}```python\n{source}```\n"
