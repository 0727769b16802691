"""Checks of settings, ports and what runs now."""

from pomona.ops.doctor.facts import Facts, Port
from pomona.ops.doctor.findings import Finding, fail, ok, warn

LONGEST_SOCKET_PATH = 103
"""macOS allows 104 bytes with the closing zero; Linux 108."""


def check_settings(facts: Facts) -> Finding:
    """All settings files and variables can be read."""
    if facts.settings.problem:
        first = facts.settings.problem.splitlines()[0]
        return fail("settings", first, "Mend the file or variable named here; `pomona config:show` lists all settings.")
    return ok("settings", ", ".join(facts.settings.files) or "defaults only")


def check_public_port(facts: Facts) -> Finding:
    """The port of the API."""
    return _check_port("port", facts.service.public, "port")


def check_admin_port(facts: Facts) -> Finding:
    """The port of health and metrics."""
    return _check_port("admin port", facts.service.admin, "admin-port")


def check_server(facts: Facts) -> Finding:
    """The server that runs now, if one does."""
    if facts.service.unhealthy:
        return fail("server", facts.service.unhealthy, "Look into its log, then start it again: `pomona serve`.")
    running = facts.service.admin.state == "pomona" or facts.service.public.state == "pomona"
    return ok("server", facts.service.admin.detail or "running and well" if running else "none is running")


def check_socket(facts: Facts) -> Finding:
    """The folder of the sockets between gateway and engine."""
    path = facts.service.socket_path
    length = len(path.encode())
    if facts.service.socket_problem:
        return fail(
            "sockets", f"{path}: {facts.service.socket_problem}", "Set TMPDIR to a folder that you can write and that takes sockets."
        )
    if length > LONGEST_SOCKET_PATH:
        return fail(
            "sockets", f"{path} has {length} bytes, {LONGEST_SOCKET_PATH} are allowed", "Set TMPDIR to a shorter path, such as /tmp."
        )
    return ok("sockets", f"{path} ({length} bytes)")


def check_strays(facts: Facts) -> Finding:
    """Engines that an earlier server left behind."""
    if facts.service.strays:
        pids = " ".join(map(str, facts.service.strays))
        return warn("leftovers", f"engines without a server: {pids}", f"They hold memory. End them: kill {pids}")
    return ok("leftovers", "none")


def _check_port(check: str, port: Port, option: str) -> Finding:
    address = f"{port.host}:{port.number}"
    match port.state:
        case "free":
            return ok(check, f"{address} is free")
        case "pomona":
            return ok(check, f"{address}: a Pomona is running there")
        case "forbidden":
            return fail(check, f"{address}: {port.detail}", f"Choose another: `pomona serve --{option} 0` takes any free one.")
        case "taken":
            return fail(
                check, f"{address} belongs to another program", f"End it (`lsof -i :{port.number}`) or choose: `pomona serve --{option} 0`."
            )
