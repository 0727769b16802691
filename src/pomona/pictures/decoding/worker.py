"""The process that decodes: one job after the other from standard input, until it is closed."""

import os
import resource
import sys
from typing import IO

import msgspec

from pomona.pictures.decoding.documents import OpenDocument, is_pdf
from pomona.pictures.decoding.images import DAMAGE, OpenImage, Unreadable, describe
from pomona.pictures.decoding.protocol import Job, Limits, Opened, Pixels, Recipes, Refused, receive, send

NICENESS = 5
"""Answers go before pictures."""
_OWN_BYTES = 768 * 2**20
"""Address space of the interpreter and its libraries."""
_BYTES_PER_PIXEL = 24
"""Pillow keeps 4 a pixel; while it converts, there are several copies."""


def main() -> None:
    """Work until standard input ends."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while (packed := receive(requests)) is not None:
        job = msgspec.msgpack.decode(packed, type=Job)
        _bound_memory(job.limits)
        try:
            _work(job, requests, answers)
        except Unreadable as refusal:
            send(answers, Refused(str(refusal)))
        except MemoryError:
            send(answers, Refused("needs more memory to decode than a picture of the allowed size does"))
        except DAMAGE as error:
            send(answers, Refused(f"is damaged: {describe(error)}"))


def _work(job: Job, requests: IO[bytes], answers: IO[bytes]) -> None:
    opened = OpenDocument(job.source, job.limits) if is_pdf(job.source) else OpenImage(job.source, job.limits)
    send(answers, Opened(opened.sizes if isinstance(opened, OpenDocument) else [opened.size]))
    packed = receive(requests)
    recipes = msgspec.msgpack.decode(packed, type=Recipes).recipes if packed else []
    if not recipes:
        return
    if isinstance(opened, OpenDocument):
        send(answers, Pixels([opened.pixels(index, recipe) for index, recipe in enumerate(recipes)]))
    else:
        send(answers, Pixels([opened.pixels(recipe) for recipe in recipes]))


def _bound_memory(limits: Limits) -> None:
    """Linux keeps to it; macOS does not, and there the time limit has to do."""
    if sys.platform == "linux":
        most = _OWN_BYTES + limits.max_pixels * _BYTES_PER_PIXEL
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
