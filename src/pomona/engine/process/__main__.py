"""An engine process for a model on disk. Started by `pomona.fleet`, not by hand: its orders come on standard input."""

from pomona.engine.process.host import run
from pomona.engine.process.model import load_engine, prepare

if __name__ == "__main__":
    raise SystemExit(run(load_engine, prepare))
