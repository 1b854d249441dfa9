"""A reply that proposes or repairs: motivation first, then the whole module or edits against a known source."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from pydantic import ValidationError

from agents.llm.client import Answer, Unreadable
from agents.replies.edits import EditError, applied, edits_in, has_broken_edits
from agents.replies.fences import before_blocks, blocks_in, defines, module_in
from agents.replies.forms import ProposalHead, json_in

_LONGEST_SOURCE = 100_000  # characters
_REFUSALS = ("i'm sorry", "i am sorry", "i cannot", "i can't", "i won't", "as an ai")


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """The model says that it cannot be done, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A source text with what its author says of it."""

    source: str
    head: ProposalHead
    motivation: str
    edited: bool  # written as edits


def read_proposal(answer: Answer, entry: str, base: str | None) -> Proposal | GaveUp:
    """Find the module in a reply, or make it by applying the reply's edits to `base`.

    Args:
        entry: the class that the module has to define.
        base: the source that edits are against; None: edits make no sense.

    Raises:
        Unreadable: with what is missing or does not apply.
    """
    reply = answer.text
    if not reply.strip():
        raise Unreadable(f"it is empty; give the motivation and then the module with class {entry}")
    head = _head(reply)
    edits = edits_in(reply)
    module = module_in(reply, entry)
    if module is None and not edits and head.give_up:
        return GaveUp(reason=head.give_up[:1000])
    if module is not None and defines(module, entry):
        source, edited = module, False
    elif edits and base is not None:
        try:
            source, edited = applied(base, edits), True
        except EditError as error:
            raise Unreadable(str(error)) from error
        if not defines(source, entry):
            raise Unreadable(f"after the edits the source does not parse, or has no class {entry}: {_syntax(source)}")
    else:
        raise Unreadable(_missing(reply, module, entry))
    if len(source) > _LONGEST_SOURCE:
        raise Unreadable(f"the module has {len(source)} characters; {_LONGEST_SOURCE} are allowed")
    motivation = head.motivation or before_blocks(reply) or "no motivation was given"
    return Proposal(source=source, head=head, motivation=motivation[:4000], edited=edited)


def _head(reply: str) -> ProposalHead:
    """The JSON block in front of the code, as far as there is one that can be read."""
    for block in blocks_in(reply):
        if block.language == "json" or block.text.lstrip().startswith("{"):
            try:
                return ProposalHead.model_validate(json_in(block.text) or {})
            except ValidationError:
                return ProposalHead()
    start = reply.find("{")
    if 0 <= start < 2000 and '"' in reply[start : start + 40]:
        end = reply.find("}", start)
        try:
            return ProposalHead.model_validate(json_in(reply[start : end + 1]) or {})
        except ValidationError:
            return ProposalHead()
    return ProposalHead()


def _missing(reply: str, module: str | None, entry: str) -> str:
    if module is not None:
        return f"the module does not parse, or has no class {entry}: {_syntax(module)}"
    if has_broken_edits(reply):
        return "an edit is not complete: <<<<<<< SEARCH, lines, =======, lines, >>>>>>> REPLACE, each mark on its line"
    if any(words in reply[:400].lower() for words in _REFUSALS):
        return f"it declines; what is asked for is an ordinary PyTorch module with class {entry}"
    return f"there is no Python block that defines class {entry}; put the whole module into one fenced block"


def _syntax(source: str) -> str:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        return f"line {line}: {getattr(error, 'msg', error)}" if line else str(error)
    return "it parses, and the class is missing"
