"""The engine: requests of texts in, one pass per step, finished requests out."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from pomona.core.errors import InvalidRequest
from pomona.core.status import EngineCounters
from pomona.engine.protocol import Encode, Encoded, TextInput
from pomona.engine.vectors.schedule import Request, Schedule
from pomona.models.encoders.batch import TextIds
from pomona.models.encoders.model import Floats, VectorModel


class VectorEngine:
    """Synchronous and single-threaded, like the engine that writes text. `budget` is the most tokens of one pass."""

    def __init__(self, model: VectorModel, budget: int, *, peak_bytes: Callable[[], int] = lambda: 0) -> None:
        self._model = model
        self._schedule = Schedule(budget)
        self._requests: dict[str, Request] = {}
        self._steps = 0
        self._peak_bytes = peak_bytes

    @property
    def has_work(self) -> bool:
        """Texts wait for a pass."""
        return len(self._schedule) > 0

    def add(self, command: Encode) -> None:
        """Queue the texts of a request. Raises InvalidRequest for ids or lengths that the model does not have."""
        if not command.texts:
            raise InvalidRequest("There are no texts to encode. Give at least one.")
        for index, text in enumerate(command.texts):
            self._check(index, text)
        count = len(command.texts)
        request = Request(id=command.id, texts=command.texts, left=deque(range(count)), results=[None] * count, missing=count)
        self._requests[command.id] = request
        self._schedule.add(request)

    def cancel(self, request_id: str) -> None:
        """Drop a request. Unknown ids are ignored."""
        request = self._requests.pop(request_id, None)
        if request is not None:
            self._schedule.remove(request)

    def step(self) -> list[Encoded]:
        """One pass: the requests that it completed."""
        places = self._schedule.take()
        found = self._model.encode([_text(place.request.texts[place.index]) for place in places])
        self._steps += 1
        for place, vector in zip(places, found, strict=True):
            place.request.results[place.index] = vector
            place.request.missing -= 1
        done = {place.request.id: place.request for place in places if place.request.missing == 0}
        for request_id in done:
            del self._requests[request_id]
        return [_encoded(request) for request in done.values()]

    def encode(self, texts: Sequence[TextInput]) -> Floats:
        """All `texts` at once, in as many passes as they need, beside whatever else waits: what a benchmark or a test calls."""
        self.add(Encode("alone", list(texts)))
        while True:
            for done in self.step():
                if done.id == "alone":
                    return np.frombuffer(done.data, np.float32).reshape(len(texts), -1)

    def stats(self) -> EngineCounters:
        """The state after the last pass."""
        waiting = len(self._schedule)
        return EngineCounters(steps=self._steps, running=min(waiting, 1), waiting=max(0, waiting - 1), device_peak_bytes=self._peak_bytes())

    @property
    def requests(self) -> int:
        """Requests that are not complete."""
        return len(self._requests)

    def close(self) -> None:
        """Drop all requests."""
        for request_id in list(self._requests):
            self.cancel(request_id)

    def _check(self, index: int, text: TextInput) -> None:
        model, ids = self._model, text.token_ids
        if not 0 < len(ids) <= model.max_context:
            raise InvalidRequest(f"Text {index} has {len(ids)} tokens; this model takes 1 to {model.max_context}.")
        if min(ids) < 0 or max(ids) >= model.vocabulary:
            wrong = next(each for each in ids if not 0 <= each < model.vocabulary)
            raise InvalidRequest(f"Text {index} holds the id {wrong!r}; this model's ids go from 0 to {model.vocabulary - 1}.")


def _text(text: TextInput) -> TextIds:
    return TextIds(ids=text.token_ids, second=text.second, prompt=text.prompt)


def _encoded(request: Request) -> Encoded:
    data = np.stack([each for each in request.results if each is not None]).astype("<f4", copy=False)
    return Encoded(request.id, data.shape[1], data.tobytes())
