"""All checks, in the order in which a person would mend things."""

from collections.abc import Callable

from pomona.ops.doctor import checks_models as models
from pomona.ops.doctor import checks_platform as platform
from pomona.ops.doctor import checks_service as service
from pomona.ops.doctor.facts import Facts
from pomona.ops.doctor.findings import Finding

Check = Callable[[Facts], Finding]
CHECKS: tuple[Check, ...] = (
    platform.check_python,
    platform.check_platform,
    platform.check_c_library,
    platform.check_memory,
    platform.check_disk,
    platform.check_cache_folder,
    platform.check_config_folder,
    platform.check_descriptors,
    platform.check_encoding,
    platform.check_clock,
    models.check_mlx,
    models.check_mlx_lm,
    models.check_libraries,
    models.check_device,
    models.check_blas,
    models.check_matrix_speed,
    models.check_compiler,
    models.check_bundled_model,
    models.check_tokenizer,
    models.check_model_cache,
    service.check_settings,
    service.check_public_port,
    service.check_admin_port,
    service.check_server,
    service.check_socket,
    service.check_strays,
)


def examine(facts: Facts) -> list[Finding]:
    """The findings of all checks."""
    return [check(facts) for check in CHECKS]
