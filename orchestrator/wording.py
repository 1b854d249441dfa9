"""Small pieces of text that everything a person sees is made of."""

from __future__ import annotations


def spoken(split: str) -> str:
    """A split as people write it."""
    return "held-out" if split == "heldout" else split


def short(text: str, width: int = 100) -> str:
    """One printable line: candidates write their own names and tracebacks, and may not drive the terminal."""
    flat = "".join(letter if letter.isprintable() else " " for letter in text)
    flat = " ".join(flat.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
