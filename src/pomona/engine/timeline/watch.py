"""The watch of one row: what it does now and has done, and who kept it from going on."""

from pomona.core.tracing.times import Delay, RowTimes, Span, Stage

MOST_SPANS = 32
"""Further ones are added to the last of their kind."""
MOST_DELAYS = 64
TOLD_DELAYS = 8


class RowWatch:
    """Belongs to one row. All times are those of the timeline's clock, in seconds."""

    __slots__ = (
        "_delays",
        "_spans",
        "_spent",
        "began",
        "behind",
        "decode_passes",
        "decode_share",
        "disk_tokens",
        "own",
        "place",
        "prefill_passes",
        "prefill_tokens",
        "since",
        "stage",
        "told",
        "waits",
    )

    def __init__(self) -> None:
        self.began = self.since = 0.0
        self.told = float("-inf")
        """When the row's times were handed out last."""
        self.stage: Stage = "turn"
        self.own = 0.0
        self.behind = 0.0
        self.place = 0
        """The first pass of the timeline's log that is not counted yet."""
        self.waits: tuple[float, ...] = ()
        """The timeline's waits by reason, when this stage began."""
        self.prefill_tokens = self.prefill_passes = self.decode_passes = self.disk_tokens = 0
        self.decode_share = 0.0
        self._spans: list[Span] = []
        self._spent: dict[str, int] = {}
        self._delays: dict[tuple[str, bool], list[float]] = {}

    def delay(self, by: str, seconds: float, tokens: int) -> None:
        """Another row's prompt was computed meanwhile."""
        self.behind += seconds
        known = self._delays.setdefault((by, self.stage == "decode"), [0.0, 0.0])
        known[0] += seconds
        known[1] += tokens
        if len(self._delays) > MOST_DELAYS:
            self._merge_small_delays()

    def close(self, stage: Stage, end: float) -> None:
        """The present stage, or part of it, lasted until `end` and was a `stage`; the next begins there."""
        if end > self.since or self.own:
            self._add(self._span(stage, end))
        self.since, self.own, self.behind = end, 0.0, 0.0

    def times(self, now: float) -> RowTimes:
        """All of it so far."""
        running = (self._span(self.stage, now),) if now > self.since else ()
        delays = [Delay(by=by, seconds=spent[0], tokens=int(spent[1]), decoding=decoding) for (by, decoding), spent in self._delays.items()]
        return RowTimes(
            began=self.began,
            seconds=now - self.began,
            spans=(*self._spans, *running),
            delays=_largest(delays),
            prefill_tokens=self.prefill_tokens,
            prefill_passes=self.prefill_passes,
            decode_passes=self.decode_passes,
            decode_share=self.decode_share,
            disk_tokens=self.disk_tokens,
        )

    def _span(self, stage: Stage, end: float) -> Span:
        return Span(name=stage, start=self.since - self.began, seconds=end - self.since, own=self.own, behind=self.behind)

    def _add(self, span: Span) -> None:
        place = self._spent.get(span.name)
        if len(self._spans) < MOST_SPANS or place is None:
            self._spent[span.name] = len(self._spans)
            self._spans.append(span)
            return
        last = self._spans[place]
        sums = (last.seconds + span.seconds, last.own + span.own, last.behind + span.behind)
        self._spans[place] = Span(name=last.name, start=last.start, seconds=sums[0], own=sums[1], behind=sums[2])

    def _merge_small_delays(self) -> None:
        ordered = sorted(self._delays, key=lambda key: self._delays[key][0])
        for key in [key for key in ordered if key[0]][: MOST_DELAYS // 2]:
            seconds, tokens = self._delays.pop(key)
            rest = self._delays.setdefault(("", key[1]), [0.0, 0.0])
            rest[0] += seconds
            rest[1] += tokens


def _largest(delays: list[Delay]) -> tuple[Delay, ...]:
    """The largest few by name, the rest together."""
    delays.sort(key=lambda delay: -delay.seconds)
    named = [delay for delay in delays if delay.by]
    shown, rest = named[:TOLD_DELAYS], [*named[TOLD_DELAYS:], *(delay for delay in delays if not delay.by)]
    for decoding in (False, True):
        some = [delay for delay in rest if delay.decoding == decoding]
        if some:
            seconds, tokens = sum(delay.seconds for delay in some), sum(delay.tokens for delay in some)
            shown.append(Delay(by="", seconds=seconds, tokens=tokens, decoding=decoding))
    return tuple(shown)
