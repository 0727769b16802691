"""Checks of the libraries, the device and the models."""

from pomona.ops.doctor.facts import GIB, Facts
from pomona.ops.doctor.findings import Finding, fail, ok, warn

WANTED = {"mlx": "0.32.", "mlx-lm": "0.32."}
"""Beginnings of the versions whose internals the engine knows; the same as in pyproject.toml."""
SLOW_GIGAFLOPS = 20.0
"""The reference BLAS gives 2 to 5; an optimised one gives 70 and more per core with AVX2."""
REINSTALL = "Install it: `pip install 'pomona[cpu]'` (or `pomona[cuda]`), or run `scripts/pomona` in a checkout."


def check_mlx(facts: Facts) -> Finding:
    """MLX is there, of a version that we know, and can be imported."""
    finding = _check_version(facts, "mlx")
    if finding.state == "fail" or facts.device.problem is None:
        return finding
    return fail(
        "mlx",
        f"{finding.found}, but: {facts.device.problem}",
        "Reinstall MLX: `pip install --force-reinstall 'mlx[cpu]'` (or `mlx[cuda13]`).",
    )


def check_mlx_lm(facts: Facts) -> Finding:
    """mlx-lm is there, of a version that we know."""
    return _check_version(facts, "mlx-lm")


def check_libraries(facts: Facts) -> Finding:
    """All other libraries."""
    missing = [name for name, version in facts.libraries.versions.items() if version is None and name not in WANTED]
    if missing:
        return fail("libraries", f"missing: {', '.join(missing)}", REINSTALL)
    return ok("libraries", f"{len(facts.libraries.versions)} found")


def check_device(facts: Facts) -> Finding:
    """Where models run."""
    device = facts.device
    if device.problem:
        return fail("device", device.problem, "Mend MLX first. To force a device: --set models.device=cpu")
    shown = f"{device.device} ({device.name}, {device.memory / GIB:.1f} GiB)"
    if device.wanted not in {"auto", device.device}:
        return warn("device", f"{shown}, though {device.wanted} was asked for", f"Check the driver, or set models.device={device.device}.")
    if facts.platform.system == "Darwin" and device.device == "cpu":
        return warn("device", shown, "Metal was not found. Use Python for arm64 (not under Rosetta), and do not run in a virtual machine.")
    return ok("device", shown)


def check_blas(facts: Facts) -> Finding:
    """A fast BLAS under MLX on Linux CPUs."""
    if not _cpu_on_linux(facts):
        return ok("blas", "not needed on this device")
    if facts.device.blas is None:
        advice = facts.device.blas_advice or "Install one: `apt install libopenblas0-pthread`, or `pip install scipy-openblas32`."
        return warn("blas", "MLX's own, which is 20 times slower than it could be", advice)
    return ok("blas", facts.device.blas)


def check_matrix_speed(facts: Facts) -> Finding:
    """How fast a matrix product is."""
    speed = facts.device.gigaflops
    if not _cpu_on_linux(facts) or speed is None:
        return ok("matrix speed", "not measured on this device")
    shown = f"{speed:.0f} GFLOP/s in float32"
    if speed < SLOW_GIGAFLOPS:
        return warn("matrix speed", shown, "Mend `blas` above; if it is well, other programs are using the processor.")
    return ok("matrix speed", shown)


def check_compiler(facts: Facts) -> Finding:
    """A C compiler, where the BLAS shim has to be compiled."""
    if not _cpu_on_linux(facts):
        return ok("c compiler", "not needed on this device")
    if facts.platform.compiler:
        return ok("c compiler", facts.platform.compiler)
    if facts.device.blas:
        return ok("c compiler", "none, and none is needed")
    return warn(
        "c compiler", "none", "Install gcc or clang (`apt install gcc`), or a system OpenBLAS (`apt install libopenblas0-pthread`)."
    )


def check_bundled_model(facts: Facts) -> Finding:
    """The model that comes with Pomona is whole."""
    if facts.device.model_problem:
        return fail("bundled model", facts.device.model_problem, "Reinstall Pomona: a file of its package is missing or was changed.")
    return ok("bundled model", "whole")


def check_tokenizer(facts: Facts) -> Finding:
    """The bundled model's tokenizer works."""
    if facts.device.tokenizer_problem:
        return fail("tokenizer", facts.device.tokenizer_problem, "Reinstall Pomona and `tokenizers`.")
    return ok("tokenizer", "turns text into ids and back")


def check_model_cache(facts: Facts) -> Finding:
    """The local cache of Hugging Face."""
    cache = facts.models
    if cache.problem:
        return warn("model cache", f"{cache.path}: {cache.problem}", "Make it readable for you, or set HF_HOME to another folder.")
    return ok("model cache", f"{cache.models} models, {cache.size / GIB:.1f} GiB at {cache.path}")


def _check_version(facts: Facts, name: str) -> Finding:
    version = facts.libraries.versions.get(name)
    if version is None:
        return fail(name, "not installed", REINSTALL)
    if not version.startswith(WANTED[name]):
        return fail(name, version, f"Install the version that the engine knows: `pip install '{name}=={WANTED[name]}*'`.")
    return ok(name, version)


def _cpu_on_linux(facts: Facts) -> bool:
    return facts.platform.system == "Linux" and facts.device.device == "cpu" and facts.device.problem is None
