"""A recorded campaign as a line: the same questions get the answers that were given then. No provider is asked.

Questions are the same by role, purpose, number, attempt, sample and turn. A number that was never recorded ends the
campaign that plays it. In the arm `transcript` one of the recorded numbers stands in (number modulo how many there
are), so that recorded proposals can be an arm of another campaign.

Not covered: prompts that changed since. The recorded reply is given all the same, as to the question of that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agents.llm.settings import ModelSettings
from agents.llm.wire import CallFailed, Completion, Request
from cognition.records import CallOutcome, LlmCall

Key = tuple[str, str, int, int, int, int]


class TranscriptLine:
    """Answers from calls that were recorded. Figures of tokens are the recorded ones; nothing is paid."""

    def __init__(self, calls: Iterable[LlmCall]) -> None:
        self._calls: dict[Key, LlmCall] = {}
        self._asked: set[tuple[str, int]] = set()  # answered or not
        numbers: dict[tuple[str, str], set[int]] = {}
        for call in calls:
            self._asked.add((call.purpose, call.number))
            if call.outcome.charged:
                self._calls[_key(call)] = call
                numbers.setdefault((call.role, call.purpose), set()).add(call.number)
        self._numbers: Mapping[tuple[str, str], list[int]] = {kind: sorted(found) for kind, found in numbers.items()}

    @property
    def num_replies(self) -> int:
        return len(self._calls)

    async def send(self, model: ModelSettings, request: Request) -> Completion:
        """The recorded reply. Raises CallFailed where none was recorded."""
        call = request.call
        found = self._calls.get(_key(call)) or self._stand_in(call)
        if found is None:
            what = f"{call.role}/{call.purpose} of number {call.number}, attempt {call.attempt}, turn {call.turn}"
            ended = call.purpose == "propose" and (call.purpose, call.number) not in self._asked
            raise CallFailed(CallOutcome.rejected, f"the transcript has no reply for {what}", hopeless=ended)
        return Completion(
            text=found.reply,
            cut_off=found.outcome is CallOutcome.cut_off,
            input_tokens=found.input_tokens,
            cached_tokens=found.cached_tokens,
            output_tokens=found.output_tokens,
            model=found.model,
        )

    def _stand_in(self, call: LlmCall) -> LlmCall | None:
        numbers = self._numbers.get((call.role, call.purpose), [])
        if not numbers or call.number in numbers or call.purpose != "propose" or call.arm != "transcript":
            return None
        return self._calls.get((*_key(call)[:2], numbers[call.number % len(numbers)], *_key(call)[3:]))


def _key(call: LlmCall) -> Key:
    return (call.role, call.purpose, call.number, call.attempt, call.sample, call.turn)
