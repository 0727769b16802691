"""Contenders that are not built on MLX, run by a Python of their own that has their packages (and not Pomona's).

Owns: llama.cpp (through llama-cpp-python, weights as GGUF Q8_0) and transformers on torch, in process. Does not own: starting them
(`contenders.py`). Models of the Llama architecture only. A worker is started and asked as those of `peers.py` are:

    PYTHON -c 'from benchmarks.foreign import main; main()' WORKER --folder FOLDER [--threads N]
"""

import argparse
import importlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from benchmarks.peers import Answer, Result, Stopwatch, Task, serve_tasks

MOST_ROWS = 32
CONTEXT_TOKENS = 16384  # of all rows together
BATCH_TOKENS = 512
LLAMA_NAMES = (
    (r"model\.embed_tokens\.weight", "token_embd.weight"),
    (r"model\.norm\.weight", "output_norm.weight"),
    (r"lm_head\.weight", "output.weight"),
    (r"model\.layers\.(\d+)\.input_layernorm\.weight", r"blk.\1.attn_norm.weight"),
    (r"model\.layers\.(\d+)\.post_attention_layernorm\.weight", r"blk.\1.ffn_norm.weight"),
    (r"model\.layers\.(\d+)\.self_attn\.([qkv])_proj\.weight", r"blk.\1.attn_\2.weight"),
    (r"model\.layers\.(\d+)\.self_attn\.o_proj\.weight", r"blk.\1.attn_output.weight"),
    (r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight", r"blk.\1.ffn_\2.weight"),
)


def llama_cpp(folder: Path, threads: int) -> Answer:
    """llama.cpp's own batches: all prompts in one, then one token for each row and step, greedily."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "model.gguf")
        write_gguf(folder, file)
        library = cast("Any", importlib.import_module("llama_cpp"))
        library.llama_backend_init()
        model = library.llama_model_load_from_file(str(file).encode(), library.llama_model_default_params())
    options = library.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch, options.n_seq_max = CONTEXT_TOKENS, BATCH_TOKENS, BATCH_TOKENS, MOST_ROWS
    options.n_threads = options.n_threads_batch = threads
    context = library.llama_init_from_model(model, options)
    rows = LlamaRows(library, context, int(library.llama_n_vocab(library.llama_model_get_vocab(model))))

    def answer(task: Task) -> Result:
        watch = Stopwatch()
        rows.forget()
        lasts = [rows.read(row, list(prompt)) for row, prompt in enumerate(task.prompts)]
        for row in range(len(lasts)):
            watch.count(row)
        for step in range(1, task.new_tokens):
            places = [len(prompt) + step - 1 for prompt in task.prompts]
            lasts = rows.decode([(row, place, token) for row, (place, token) in enumerate(zip(places, lasts, strict=True))])
            for row in range(len(lasts)):
                watch.count(row)
        return watch.result()

    return answer


class LlamaRows:
    """Rows of one llama.cpp context, through its C functions."""

    def __init__(self, library: Any, context: Any, vocabulary: int) -> None:
        self._library, self._context, self._vocabulary = library, context, vocabulary
        self._numpy = cast("Any", importlib.import_module("numpy"))
        self._batch = library.llama_batch_init(BATCH_TOKENS, 0, 1)

    def forget(self) -> None:
        """Begin anew."""
        self._library.llama_kv_self_clear(self._context)

    def read(self, row: int, prompt: list[int]) -> int:
        """Take a prompt in; returns the token that follows it."""
        chosen: list[int] = []
        for start in range(0, len(prompt), BATCH_TOKENS):
            part = [(row, start + index, token) for index, token in enumerate(prompt[start : start + BATCH_TOKENS])]
            chosen = self._run(part, ends=[len(part) - 1])
        return chosen[0]

    def decode(self, inputs: list[tuple[int, int, int]]) -> list[int]:
        """(row, position, token) of every row; returns their next tokens."""
        return self._run(inputs, ends=list(range(len(inputs))))

    def _run(self, inputs: list[tuple[int, int, int]], ends: list[int]) -> list[int]:
        batch = self._batch
        batch.n_tokens = len(inputs)
        for index, (row, place, token) in enumerate(inputs):
            batch.token[index], batch.pos[index] = token, place
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, row, 0
        for index in ends:
            batch.logits[index] = 1
        if self._library.llama_decode(self._context, batch) != 0:
            raise RuntimeError(f"llama.cpp could not decode {len(inputs)!r} tokens.")
        lines = self._numpy.ctypeslib.as_array
        return [int(lines(self._library.llama_get_logits_ith(self._context, index), (self._vocabulary,)).argmax()) for index in ends]


def write_gguf(folder: Path, file: Path) -> None:
    """The float32 weights of `folder` as Q8_0, norms as they are; without a vocabulary, since tokens go in and come out."""
    gguf, config = cast("Any", importlib.import_module("gguf")), json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(str(file), "llama")
    heads, kv_heads, width = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size"]
    dim = config.get("head_dim") or width // heads
    for add, value in (
        (writer.add_block_count, config["num_hidden_layers"]),
        (writer.add_context_length, config["max_position_embeddings"]),
        (writer.add_embedding_length, width),
        (writer.add_feed_forward_length, config["intermediate_size"]),
        (writer.add_head_count, heads),
        (writer.add_head_count_kv, kv_heads),
        (writer.add_key_length, dim),
        (writer.add_value_length, dim),
        (writer.add_rope_dimension_count, dim),
        (writer.add_rope_freq_base, config["rope_theta"]),
        (writer.add_layer_norm_rms_eps, config["rms_norm_eps"]),
        (writer.add_vocab_size, config["vocab_size"]),
        (writer.add_tokenizer_model, "none"),
        (writer.add_file_type, gguf.LlamaFileType.MOSTLY_Q8_0),
    ):
        add(value)
    kind, pack = gguf.GGMLQuantizationType.Q8_0, gguf.quants.quantize
    for name, array in _weights(folder):
        target = next(re.sub(old, new, name) for old, new in LLAMA_NAMES if re.fullmatch(old, name))
        if target.endswith(("attn_q.weight", "attn_k.weight")):
            writer.add_tensor(target, pack(_interleave(array, heads if "attn_q" in target else kv_heads), kind), raw_dtype=kind)
        elif array.ndim == 2:
            writer.add_tensor(target, pack(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _weights(folder: Path) -> list[tuple[str, Any]]:
    safetensors = cast("Any", importlib.import_module("safetensors.numpy"))
    return [entry for file in sorted(folder.glob("*.safetensors")) for entry in safetensors.load_file(file).items()]


def _interleave(array: Any, heads: int) -> Any:
    """llama.cpp rotates neighbours, Hugging Face's weights are for halves."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(array.shape).copy()


def transformers(folder: Path, threads: int, dtype: str) -> Answer:
    """`generate` of transformers, prompts padded on the left as its users do."""
    torch, library = cast("Any", importlib.import_module("torch")), cast("Any", importlib.import_module("transformers"))
    torch.set_num_threads(threads)
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None

    def answer(task: Task) -> Result:
        watch, rows, longest = Stopwatch(), len(task.prompts), max(map(len, task.prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in task.prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in task.prompts])

        def note(_: Any, scores: Any) -> Any:
            for row in range(rows):
                watch.count(row)
            return scores

        processors = library.LogitsProcessorList([note])
        with torch.inference_mode():
            model.generate(
                ids, attention_mask=mask, max_new_tokens=task.new_tokens, do_sample=False, logits_processor=processors, pad_token_id=0
            )
        return watch.result()

    return answer


WORKERS: Mapping[str, Callable[[Path, int], Answer]] = {
    "llama_cpp": llama_cpp,
    "transformers_float32": lambda folder, threads: transformers(folder, threads, "float32"),
    "transformers_bfloat16": lambda folder, threads: transformers(folder, threads, "bfloat16"),
}


def main() -> None:
    """Be the worker that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("worker", choices=WORKERS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    serve_tasks(WORKERS[options.worker](options.folder, options.threads))
