"""Usage over all choices of a call, in OpenAI's words."""

from collections.abc import Mapping

from pomona.core.errors import Cancelled
from pomona.core.generation import Finished, Usage


class Tally:
    """Adds up. Prompts count once each, however many copies of an answer they get, as OpenAI does."""

    def __init__(self, copies: int) -> None:
        self._copies = copies
        self._by_index: dict[int, Usage] = {}
        self.warnings: list[str] = []

    def add(self, index: int, event: Finished) -> None:
        """Request `index` ended. Raises Cancelled where it was stopped from inside."""
        if event.reason == "cancelled":
            raise Cancelled("The answer was stopped before its end. Send the request again.")
        self._by_index[index] = event.usage
        self.warnings.extend(each for each in event.warnings if each not in self.warnings)

    def usage(self) -> Mapping[str, object]:
        """The usage object."""
        prompts = self._prompts()
        prompt_tokens = sum(usage.prompt_tokens for usage, _ in prompts)
        cached_tokens = sum(cached for _, cached in prompts)
        picture_tokens = sum(usage.picture_tokens for usage, _ in prompts)
        completion_tokens = sum(usage.completion_tokens for usage in self._by_index.values())
        reasoning_tokens = sum(usage.reasoning_tokens for usage in self._by_index.values())
        accepted_tokens = sum(usage.accepted_tokens for usage in self._by_index.values())
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {
                "cached_tokens": cached_tokens,
                "cache_write_tokens": prompt_tokens - cached_tokens,
                "text_tokens": prompt_tokens - picture_tokens,
                "audio_tokens": 0,
                "image_tokens": picture_tokens,
            },
            "completion_tokens_details": {
                "reasoning_tokens": reasoning_tokens,
                "text_tokens": completion_tokens - reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": accepted_tokens,
                "rejected_prediction_tokens": sum(usage.drafted_tokens for usage in self._by_index.values()) - accepted_tokens,
            },
        }

    def _prompts(self) -> list[tuple[Usage, int]]:
        """Usage of each prompt, and how much of it no copy had to compute."""
        groups: dict[int, list[Usage]] = {}
        for index, usage in self._by_index.items():
            groups.setdefault(index // self._copies, []).append(usage)
        return [(group[0], min(usage.cached_tokens for usage in group)) for group in groups.values()]
