"""Rate limits of callers: requests a minute, tokens a minute, answers at a time.

Every answer counts as a request: one with `n = 4`, or with four prompts, is four. Tokens are those read, without the ones that the prefix
cache spared, and those written. Before an answer begins its tokens are guessed and taken; at its end the guess is settled.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pomona.control.buckets import Bucket
from pomona.control.callers import Allowance, Caller
from pomona.core.errors import InvalidRequest, RateLimited
from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, PromptScored, Started

MOST_ACCOUNTS = 10_000
CONCURRENCY_RETRY_SECONDS = 1.0
_CHARACTERS_PER_TOKEN = 4
_FIRST_GUESS = 256  # tokens written, until the account's own answers tell
_LEARNING_RATE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One limit as a header tells it; `reset_seconds` is how long until all of it is there again."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a caller may still ask for; None where there is no limit."""

    requests: Level | None = None
    tokens: Level | None = None


class Account:
    """What one caller has used. Raises RateLimited and InvalidRequest."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self.allowance = allowance
        self.running = 0
        self._requests = _bucket(allowance.requests_per_minute, now)
        self._tokens = _bucket(allowance.tokens_per_minute, now)
        self._written = float(_FIRST_GUESS)

    def guess(self, request: GenerateRequest) -> float:
        """The tokens that `request` may take: its length by characters, and as much written as was usual lately."""
        most = self._written if request.max_tokens is None else min(self._written, request.max_tokens)
        return _prompt_guess(request) + most

    def check(self, caller: Caller, requests: Sequence[GenerateRequest], now: float) -> None:
        """Raise what stands in the way of `requests`, if anything does."""
        self._check_concurrency(caller, len(requests))
        tokens = sum(map(self.guess, requests))
        for bucket, amount, unit in ((self._requests, len(requests), "requests"), (self._tokens, tokens, "tokens")):
            self._check_bucket(caller, bucket, amount, unit, now)

    @staticmethod
    def _check_bucket(caller: Caller, bucket: Bucket | None, amount: float, unit: str, now: float) -> None:
        seconds = bucket.wait_seconds(amount, now) if bucket else 0.0
        if bucket and seconds > 0:
            text = f"{_name(caller)} may use {bucket.capacity} {unit} a minute, and this needs about {amount:.0f}."
            raise RateLimited(f"{text} Try again in {seconds:.1f} seconds.", retry_after=seconds)

    def _check_concurrency(self, caller: Caller, answers: int) -> None:
        limit = self.allowance.concurrent
        if limit is None:
            return
        if answers > limit:
            raise InvalidRequest(f"This asks for {answers} answers; {_name(caller)} may have {limit} at a time. Ask for fewer.")
        if self.running + answers > limit:
            text = f"{_name(caller)} may have {limit} answers at a time; {self.running} are running. Wait for one to end."
            raise RateLimited(text, retry_after=CONCURRENCY_RETRY_SECONDS)

    def take(self, answers: int, tokens: float, now: float) -> None:
        """Take what `check` found to be there."""
        self.running += answers
        if self._requests:
            self._requests.take(answers, now)
        self.take_tokens(tokens, now)

    def take_tokens(self, tokens: float, now: float) -> None:
        """Take tokens, or give them back where the number is negative."""
        if self._tokens and tokens:
            self._tokens.take(tokens, now)

    def count(self, caller: Caller, now: float) -> None:
        """Take one request and nothing else."""
        self._check_bucket(caller, self._requests, 1, "requests", now)
        if self._requests:
            self._requests.take(1, now)

    def learn(self, written: int) -> None:
        """An answer had this many tokens."""
        self._written += _LEARNING_RATE * (written - self._written)

    def standing(self, now: float, requests: Sequence[GenerateRequest] = ()) -> Standing:
        """What is left, with `requests` as good as taken."""
        tokens = sum(map(self.guess, requests)) if self._tokens else 0.0
        return Standing(requests=_level(self._requests, len(requests), now), tokens=_level(self._tokens, tokens, now))

    def idle(self, now: float) -> bool:
        """Whether to forget this account would change nothing for its caller."""
        buckets = (self._requests, self._tokens)
        return self.running == 0 and all(bucket is None or bucket.full_seconds(now) == 0 for bucket in buckets)


class Limiter:
    """The accounts of all callers. `clock` is in seconds and only rises."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def check(self, caller: Caller, requests: Sequence[GenerateRequest]) -> Standing:
        """Whether `caller` may have `requests` now, and what would be left then. Takes nothing. Raises RateLimited and InvalidRequest."""
        account, now = self.account(caller), self._clock()
        account.check(caller, requests, now)
        return account.standing(now, requests)

    def count(self, caller: Caller) -> None:
        """Take one request that has no answer of a model. Raises RateLimited, and has then taken nothing."""
        self.account(caller).count(caller, self._clock())

    @property
    def accounts(self) -> int:
        """Callers that are remembered."""
        return len(self._accounts)

    def standing(self, caller: Caller) -> Standing:
        """What `caller` may ask for now."""
        return self.account(caller).standing(self._clock())

    @contextmanager
    def stay(self, caller: Caller, requests: Sequence[GenerateRequest]) -> Generator["Stay"]:
        """Take what `requests` need while inside. Raises RateLimited and InvalidRequest, and has then taken nothing."""
        account = self.account(caller)
        account.check(caller, requests, self._clock())
        stay = Stay(account, requests, self._clock)
        try:
            yield stay
        finally:
            stay.leave()

    def account(self, caller: Caller) -> Account:
        """The account of `caller`; a fresh one where its limits were changed."""
        account = self._accounts.get(caller.account)
        if account is None or account.allowance != caller.allowance:
            now, running = self._clock(), account.running if account else 0
            account = self._accounts[caller.account] = Account(caller.allowance, now)
            account.running = running
            self._forget_one(now)
        self._accounts.move_to_end(caller.account)
        return account

    def _forget_one(self, now: float) -> None:
        """Addresses come and go: beyond `MOST_ACCOUNTS` the one that was quiet for longest goes, if it owes nothing."""
        if len(self._accounts) > MOST_ACCOUNTS and next(iter(self._accounts.values())).idle(now):
            self._accounts.popitem(last=False)


class Stay:
    """The answers of one call while they run, and what they cost."""

    def __init__(self, account: Account, requests: Sequence[GenerateRequest], clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._guesses = [account.guess(request) for request in requests]
        self._used = [0.0] * len(requests)
        self._settled = [False] * len(requests)
        account.take(len(requests), sum(self._guesses), clock())

    def see(self, index: int, event: GenerateEvent) -> None:
        """An event of the answer with that index."""
        match event:
            case Started():
                self._used[index] = event.prompt_tokens
            case Finished():
                usage = event.usage
                self._account.learn(usage.completion_tokens)
                self._settle(index, usage.total_tokens - usage.cached_tokens)
            case PromptScored():
                pass
            case _:
                self._used[index] += 1

    def leave(self) -> None:
        """Give back the places. Answers that did not come to their end cost their prompt and a token for each piece that was seen."""
        for index, settled in enumerate(self._settled):
            if not settled:
                self._settle(index, self._used[index])
        self._account.running -= len(self._settled)

    def _settle(self, index: int, cost: float) -> None:
        self._settled[index] = True
        self._account.take_tokens(cost - self._guesses[index], self._clock())


def _prompt_guess(request: GenerateRequest) -> int:
    if request.token_ids is not None:
        return len(request.token_ids)
    characters = len(request.text or "") + sum(len(message.text) for message in request.messages or ())
    return characters // _CHARACTERS_PER_TOKEN


def _bucket(per_minute: int | None, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, now)


def _level(bucket: Bucket | None, taken: float, now: float) -> Level | None:
    if bucket is None:
        return None
    left = bucket.level(now) - taken
    seconds = (bucket.capacity - left) * 60 / bucket.capacity
    return Level(limit=bucket.capacity, remaining=max(0, int(left)), reset_seconds=max(0.0, seconds))


def _name(caller: Caller) -> str:
    return f"The key {caller.name!r}" if caller.id else "A caller without a key"
