from pomona.library import AsyncEngine as AsyncEngine
from pomona.library import Engine as Engine

__version__: str
