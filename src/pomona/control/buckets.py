"""The token bucket: an amount that a caller may take, which grows back steadily."""


class Bucket:
    """Holds `per_minute` at most and grows by as much in a minute. Times are in seconds of one rising clock.

    More may be taken than is there where the true cost comes out only afterwards; then it grows back from below zero.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.capacity = per_minute
        self._level = float(per_minute)
        self._at = now

    def level(self, now: float) -> float:
        """What is in it at `now`."""
        self._level = min(self.capacity, self._level + (now - self._at) * self.capacity / 60)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take `amount`, or give it back where it is negative."""
        self._level = min(self.capacity, self.level(now) - amount)

    def wait_seconds(self, amount: float, now: float) -> float:
        """How long until `amount` is there. What is larger than the bucket may be taken when it is full."""
        missing = min(amount, self.capacity) - self.level(now)
        return max(0.0, missing * 60 / self.capacity)

    def full_seconds(self, now: float) -> float:
        """How long until it is full."""
        return self.wait_seconds(self.capacity, now)
