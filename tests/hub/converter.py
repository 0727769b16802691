"""Keeps the contract of the converter, `converter.py SOURCE TARGET [--quantize FORM] [--gguf FILE]`. It makes a copy with a mark."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("source", type=Path)
parser.add_argument("target", type=Path)
parser.add_argument("--quantize")
parser.add_argument("--gguf")
options = parser.parse_args()
print("a library greets")
if (options.source / "hang.txt").is_file():
    print(json.dumps({"done": 0, "total": 2, "what": "hanging"}), flush=True)
    time.sleep(60)
if (options.source / "crash.txt").is_file():
    sys.exit("Segmentation fault, nearly")
if (options.source / "broken.txt").is_file():
    print(json.dumps({"error": "layer 3 has no weights", "code": "model_unusable"}))
    sys.exit(3)
if options.gguf and not (options.source / options.gguf).is_file():
    print(json.dumps({"error": f"no file {options.gguf}", "code": "model_unusable"}))
    sys.exit(3)
for done in range(3):
    print(json.dumps({"done": done, "total": 2, "what": f"layer {done}"}), flush=True)
half = options.target.with_name(options.target.name + ".part")
shutil.copytree(options.source, half, ignore=shutil.ignore_patterns("*.gguf"))
(half / "made.json").write_text(json.dumps({"quantize": options.quantize, "gguf": options.gguf}))
if not (half / "config.json").is_file():
    (half / "config.json").write_text('{"model_type": "llama"}')
half.rename(options.target)
