"""How a folder turns texts into vectors or scores: sentence-transformers' files beside the weights. No MLX in here: the gateway reads it.

Formats: https://sbert.net/docs/sentence_transformer/usage/custom_models.html, as written by sentence-transformers 2 to 6.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn, cast, get_args

from pomona.core.errors import ModelUnusable
from pomona.core.status import Task
from pomona.models.tasks import looks_both_ways

Json = Mapping[str, object]
PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
POOLING_MODES: tuple[PoolingMode, ...] = get_args(PoolingMode)
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Sigmoid": "sigmoid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseStep:
    """A linear layer behind the pooling. Its weights are in model.safetensors of `folder`."""

    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorLayout:
    """What a folder says of its vectors or scores."""

    task: Task
    causal: bool
    """A decoder: tokens see only those before them."""
    pooling: tuple[PoolingMode, ...] = ("mean",)
    include_prompt: bool = True
    """The tokens of an instruction take part in the pooling."""
    dense: tuple[DenseStep, ...] = ()
    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Instructions by name, such as `query`; they go before the text."""
    default_prompt: str | None = None
    max_tokens: int | None = None
    """Longest input, where sentence_bert_config.json says so."""
    lower_case: bool = False
    judged_by_words: bool = False
    """A reranker that answers yes or no (Qwen3-Reranker)."""
    judge: tuple[int, int | None] | None = None
    """The ids of those words, where the folder names them; the second may be missing."""


def read_layout(folder: Path, config: Json, task: Task) -> VectorLayout:
    """Read and check the layout of `folder` for `task`, embed or rerank. Raises ModelUnusable naming the file."""
    causal = not looks_both_ways(config)
    sizes, saved = _read(folder / "sentence_bert_config.json"), _read(folder / "config_sentence_transformers.json")
    prompts, default = saved.get("prompts"), saved.get("default_prompt_name")
    layout = _Steps(folder, causal=causal)
    layout.read()
    return VectorLayout(
        task=task,
        causal=causal,
        pooling=layout.pooling,
        include_prompt=layout.include_prompt,
        dense=tuple(layout.dense),
        normalize=layout.normalize,
        prompts={str(key): str(value) for key, value in cast("Json", prompts).items()} if isinstance(prompts, dict) else {},
        default_prompt=default if isinstance(default, str) else None,
        max_tokens=_positive(sizes.get("max_seq_length")),
        lower_case=sizes.get("do_lower_case") is True,
        judge=layout.judge,
        judged_by_words=task == "rerank" and causal and not _classifies(config),
    )


def _classifies(config: Json) -> bool:
    names = config.get("architectures")
    return isinstance(names, list) and any(str(name).endswith("ForSequenceClassification") for name in cast("list[object]", names))


class _Steps:
    """The modules of modules.json in turn; without that file, as in sentence-transformers, the mean, or a decoder's last token.

    Then the vectors are normalised too, because clients expect that of this API.
    """

    def __init__(self, folder: Path, *, causal: bool) -> None:
        self._folder = folder
        self.pooling: tuple[PoolingMode, ...] = ("lasttoken",) if causal else ("mean",)
        self.include_prompt = True
        self.normalize = True
        self.dense: list[DenseStep] = []
        self.judge: tuple[int, int | None] | None = None

    def read(self) -> None:
        path = self._folder / "modules.json"
        if not path.is_file():
            if (self._folder / "1_Pooling" / "config.json").is_file():
                self._read_pooling(self._folder / "1_Pooling")
            return
        self.normalize = False
        for step in _read_list(path):
            self._read_step(path, str(step.get("type")).rpartition(".")[2], self._folder / str(step.get("path") or ""))

    def _read_step(self, path: Path, kind: str, folder: Path) -> None:
        match kind:
            case "Transformer" | "Dropout":
                pass
            case "LogitScore":
                self._read_judge(folder / "config.json")
            case "Pooling":
                self._read_pooling(folder)
            case "Normalize":
                self.normalize = True
            case "Dense":
                self.dense.append(_dense(folder))
            case _:
                _refuse(path, f"has a step of type {kind!r}; Pomona knows Transformer, Pooling, Dense, Normalize and Dropout.")

    def _read_judge(self, path: Path) -> None:
        config = _read(path)
        yes, no = _positive(config.get("true_token_id")), _positive(config.get("false_token_id"))
        if yes is None:
            _refuse(path, f"must give true_token_id as a whole number; it says {config.get('true_token_id')!r}.")
        self.judge = yes, no

    def _read_pooling(self, folder: Path) -> None:
        path = folder / "config.json"
        config = _read(path)
        given = config.get("pooling_mode")
        if given is None:
            named: list[object] = [mode for key, mode in _OLD_MODES.items() if config.get(key) is True]
        else:
            named = cast("list[object]", given) if isinstance(given, list) else [given]
        unknown = [mode for mode in named if mode not in POOLING_MODES]
        if unknown:
            _refuse(path, f"asks for pooling_mode = {unknown[0]!r}; Pomona knows {', '.join(POOLING_MODES)}.")
        self.pooling = cast("tuple[PoolingMode, ...]", tuple(named or ["mean"]))
        self.include_prompt = config.get("include_prompt") is not False


def _dense(folder: Path) -> DenseStep:
    path = folder / "config.json"
    config = _read(path)
    inputs, outputs = _positive(config.get("in_features")), _positive(config.get("out_features"))
    kind = str(config.get("activation_function")).rpartition(".")[2]
    if inputs is None or outputs is None:
        _refuse(path, f"must give in_features and out_features as whole numbers; it says {config.get('in_features')!r}.")
    if kind not in _ACTIVATIONS:
        _refuse(path, f"asks for activation_function = {config.get('activation_function')!r}; Pomona knows {', '.join(_ACTIVATIONS)}.")
    if config.get("use_residual"):
        _refuse(path, "asks for use_residual, which Pomona does not know.")
    return DenseStep(folder=folder, inputs=inputs, outputs=outputs, bias=config.get("bias") is not False, activation=_ACTIVATIONS[kind])


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _read(path: Path) -> Json:
    """The object in a JSON file; empty where there is none."""
    value = _parse(path)
    if not isinstance(value, dict):
        _refuse(path, f"must hold a JSON object, and holds a {type(value).__name__}. Download it again.")
    return cast("Json", value)


def _read_list(path: Path) -> list[Json]:
    value = _parse(path)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in cast("list[object]", value)):
        _refuse(path, "must hold a list of objects. Download it again.")
    return cast("list[Json]", value)


def _parse(path: Path) -> object:
    try:
        return cast("object", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read as JSON: {error}. Download it again.")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ModelUnusable(f"The file {str(path)!r} {reason}")
