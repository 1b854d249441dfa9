"""Keys stay in the environment: whatever is written down goes through `redacted` first.

Not covered: a key that a provider sends back in pieces or in another encoding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_NAMES = re.compile(r"(API_?KEY|ACCESS_?KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)", re.I)
_LEAST = 8  # shorter values are words that occur by chance


def secrets_in(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Values of the environment that are nobody's to read, by name; the longest first."""
    found = {
        name: value.strip()
        for name, value in (os.environ if environment is None else environment).items()
        if _NAMES.search(name) and len(value.strip()) >= _LEAST
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def redacted(text: str, secrets: Mapping[str, str]) -> str:
    """The text with each secret's value replaced by its name in brackets."""
    for name, value in secrets.items():
        text = text.replace(value, f"[{name}]")
    return text
