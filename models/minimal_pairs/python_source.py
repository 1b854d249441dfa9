"""Pairs of Python source: what closes, what follows a header, what stands in line, and which name was meant.

Both texts of a pair have the same length in bytes. Of two names that either could be meant, which one is right is
drawn, so that a liking for one of them tells nothing. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models.minimal_pairs.words import Pair, identifier, identifiers, pick, two

_BRACKETS = ("()", "[]", "{}")
_HEADERS = ("if {}", "while {}", "for item in {}", "with {}", "def {}(self)", "class {}", "elif {}")
_MODULES = {
    2: ("os", "re"),
    3: ("sys", "csv", "ast", "ssl", "cgi"),
    4: ("json", "math", "time", "glob", "copy", "enum", "uuid"),
    6: ("random", "string", "struct", "socket", "signal", "shutil", "typing"),
    8: ("datetime", "tempfile", "textwrap", "operator", "platform", "argparse"),
}
_STATEMENTS = (
    *("return {}", "raise {}", "import {}", "assert {}", "while {}:", "yield {}", "class {}:", "global {}"),
    *("except {}:", "lambda {}: None"),
)
_ORDERS = (
    ("    for {a} in {b}:\n", "    in {a} for {b}:\n"),
    ("    if {a} is not None:\n", "    if {a} not is None:\n"),
    ("from {a} import {b}\n", "import {a} from {b}\n"),
    ("        raise ValueError from {a}\n", "        from ValueError raise {a}\n"),
    ("    return {a} if {b} else None\n", "    return {a} else {b} if None\n"),
    ("    with {a} as {b}:\n", "    as {a} with {b}:\n"),
    ("    assert {a} not in {b}\n", "    assert {a} in not {b}\n"),
)


def bracket(rng: np.random.Generator) -> Pair:
    """The bracket that was opened is the one that is closed."""
    kind, wrong = two(rng, _BRACKETS)
    a, b = identifiers(rng)
    text = f"    {a} = {kind[0]}{b}, {identifier(rng)}, {identifier(rng)}"
    return Pair(f"{text}{kind[1]}\n", f"{text}{wrong[1]}\n")


def quote(rng: np.random.Generator) -> Pair:
    """A string ends with the quotation mark that it began with."""
    mark, other = two(rng, ("'", '"'))
    text = f"    {identifier(rng)} = {mark}{identifier(rng)} {identifier(rng)}"
    return Pair(f"{text}{mark}\n", f"{text}{other}\n")


def colon(rng: np.random.Generator) -> Pair:
    """A block's header ends with a colon."""
    header = "    " + pick(rng, _HEADERS).format(identifier(rng))
    body = f"\n        {identifier(rng)}()\n"
    return Pair(f"{header}:{body}", f"{header},{body}")


def indentation(rng: np.random.Generator) -> Pair:
    """The statements of a block stand in line; the space that the wrong one lacks is within it."""
    depth, first = 4 * int(rng.integers(1, 4)), identifier(rng)
    a, b = identifiers(rng)
    head = f"{' ' * (depth - 4)}if {first}:\n{' ' * depth}{a} = {first}\n"
    return Pair(f"{head}{' ' * depth}{b} = {a}\n", f"{head}{' ' * (depth - 1)}{b}  = {a}\n")


def self_first(rng: np.random.Generator) -> Pair:
    """A method's first parameter is `self`."""
    name, method = identifiers(rng)
    head, other = f"class {name.title()}:\n\n    def {method}(", identifier(rng)
    return Pair(f"{head}self, {other}):\n", f"{head}{other}, self):\n")


def keyword_order(rng: np.random.Generator) -> Pair:
    """Two keywords of one statement, in their order and exchanged."""
    (good, bad), (a, b) = pick(rng, _ORDERS), identifiers(rng)
    return Pair(good.format(a=a, b=b), bad.format(a=a, b=b))


def module_used(rng: np.random.Generator) -> Pair:
    """The module that is used later is the one that was imported."""
    names = pick(rng, tuple(_MODULES.values()))
    imported, other = two(rng, names)
    head = f"import {imported}\n\n\ndef {identifier(rng)}({identifier(rng)}):\n    return "
    tail = f".{identifier(rng)}()\n"
    return Pair(f"{head}{imported}{tail}", f"{head}{other}{tail}")


def name_used(rng: np.random.Generator) -> Pair:
    """A function returns what it was given, not what nobody has named: a made-up name, to be copied."""
    given, other = identifiers(rng, syllables=3)
    head = f"def {identifier(rng)}({given}):\n    return "
    return Pair(f"{head}{given}\n", f"{head}{other}\n")


def attribute_used(rng: np.random.Generator) -> Pair:
    """A method reads the attribute that the one before it has written."""
    written, other = identifiers(rng)
    head = f"        self.{written} = {identifier(rng)}\n\n    def {identifier(rng)}(self):\n        return self."
    return Pair(f"{head}{written}\n", f"{head}{other}\n")


def keyword_spelled(rng: np.random.Generator) -> Pair:
    """A keyword is written as it is written, and not with two neighbouring letters exchanged."""
    good, words = pick(rng, _STATEMENTS), identifiers(rng)
    keyword = good.split("{", 1)[0].strip()
    places = [place for place in range(1, len(keyword) - 1) if keyword[place] != keyword[place + 1]]
    place = pick(rng, places)
    wrong = keyword[:place] + keyword[place + 1] + keyword[place] + keyword[place + 2 :]
    text = f"        {good}\n".format(*words)
    return Pair(text, text.replace(keyword, wrong, 1))


PHENOMENA: Mapping[str, Callable[[np.random.Generator], Pair]] = {
    "bracket": bracket,
    "quote": quote,
    "colon": colon,
    "indentation": indentation,
    "self_first": self_first,
    "keyword_order": keyword_order,
    "keyword_spelled": keyword_spelled,
    "module_used": module_used,
    "name_used": name_used,
    "attribute_used": attribute_used,
}
