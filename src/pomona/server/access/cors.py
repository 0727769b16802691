"""CORS: which web pages may call the API from a browser and read its answers."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pomona.core.settings import AccessSettings
from pomona.server.access.hosts import origin_pattern
from pomona.server.access.visits import EXPOSED

_REMEMBER_SECONDS = 600


def cross_origin(settings: AccessSettings) -> Middleware:
    """The middleware. Keys travel in headers, never in cookies, so credentials in the sense of CORS are not needed."""
    everyone = "*" in settings.allowed_origins
    return Middleware(
        CORSMiddleware,
        allow_origins=["*"] if everyone else [],
        allow_origin_regex=None if everyone else origin_pattern(settings.allowed_origins).pattern,
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
        allow_private_network=True,  # only for the origins above: Starlette refuses the others
        max_age=_REMEMBER_SECONDS,
    )
