"""What an engine process imports."""

import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
from pomona.core.settings import EngineSettings, LoggingSettings, ModelsSettings
from pomona.engine.process.model import load_engine, prepare
from pomona.engine.protocol import Launch, Prepare
from pomona.models.references import bundled_folder

cache, models = Path(sys.argv[1]), ModelsSettings(device="cpu")
prepare(Prepare(cache_folder=cache, models=models))
launch = Launch(address="", model="m", folder=bundled_folder(), cache_folder=cache, heartbeat_seconds=1, engine=EngineSettings(),
    models=models, logging=LoggingSettings())
loaded = load_engine(launch)
loaded.warm_up()
print(loaded.ready.architecture, loaded.ready.warnings, sorted({"transformers", "torch", "fastapi"} & sys.modules.keys()))
"""


def test_an_engine_process_does_without_transformers(tmp_path: object) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("LlamaForCausalLM [] []\n", 0), done.stderr
