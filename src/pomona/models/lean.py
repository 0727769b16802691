"""mlx-lm's model definitions without the rest of mlx-lm, for processes that use nothing else of it.

The package's own `__init__` and `mlx_lm.utils` import transformers, for tokenizers and converters: 2 to 3 s of a start that takes 1 s
without (2 busy CPU cores). Neither an engine nor anything that it loads asks for them.
"""

import importlib.util
import sys
from types import ModuleType


def keep_transformers_out() -> None:
    """From now on `mlx_lm` is the package of its submodules and nothing besides. Before anybody has imported it; once a process."""
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or spec.submodule_search_locations is None or "mlx_lm" in sys.modules:
        return
    package = ModuleType(spec.name)
    package.__spec__, package.__file__, package.__path__ = spec, spec.origin, list(spec.submodule_search_locations)
    tokenizers = ModuleType("mlx_lm.tokenizer_utils")
    for name in ("TokenizerWrapper", "load"):  # what `mlx_lm.utils` takes from there
        setattr(tokenizers, name, None)
    sys.modules |= {package.__name__: package, tokenizers.__name__: tokenizers}
