"""Looks at ports, a running server, sockets and leftover processes."""

import errno
import socket
from pathlib import Path
from typing import cast

import httpx
import psutil

from pomona.core.settings import ServerSettings
from pomona.fleet.process.endpoint import Endpoint
from pomona.ops.doctor.facts import Port, ServiceFacts

ENGINE_MODULE = "pomona.engine.process"


def gather_service(settings: ServerSettings) -> ServiceFacts:
    """What runs now, and what could."""
    public = look_at_port(settings.host, settings.port)
    admin = look_at_port(settings.admin_host, settings.admin_port)
    path, problem = _try_socket()
    return ServiceFacts(
        public=public, admin=admin, unhealthy=_find_illness(admin), socket_path=path, socket_problem=problem, strays=_find_strays()
    )


def look_at_port(host: str, number: int) -> Port:
    """Who has a port: nobody, a Pomona, another program, or the system, which does not give it to us."""
    if number == 0:
        return Port(host=host, number=0, detail="any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Port(host=host, number=number, state="forbidden", detail=error.strerror or str(error))
        else:
            return Port(host=host, number=number)
    return _ask_name(host, number)


def _ask_name(host: str, number: int) -> Port:
    try:
        told = httpx.get(_url(host, number, "/version"), timeout=2.0, trust_env=False).json()
        if told["name"] == "pomona":
            return Port(host=host, number=number, state="pomona", detail=f"Pomona {told['version']} is running and well")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        pass
    return Port(host=host, number=number, state="taken")


def _find_illness(admin: Port) -> str | None:
    """What the health of a running Pomona complains about; None when it is well, or when there is none."""
    if admin.state != "pomona":
        return None
    try:
        response = httpx.get(_url(admin.host, admin.number, "/health"), timeout=5.0, trust_env=False)
        problems = cast("dict[str, list[object]]", response.json()).get("problems", [])
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        return f"its health cannot be read: {error or type(error).__name__}"
    return None if response.status_code == 200 else f"status {response.status_code}: {'; '.join(map(str, problems)) or 'no reason given'}"


def _try_socket() -> tuple[str, str | None]:
    """Make a place for an engine's socket as a gateway would, bind one there, and take it away again."""
    try:
        endpoint = Endpoint()
    except OSError as error:
        return str(error.filename or "the folder for temporary files"), error.strerror or str(error)
    path = Path(endpoint.address.removeprefix("ipc://"))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.bind(str(path))
    except OSError as error:
        return str(path), error.strerror or str(error)
    finally:
        endpoint.remove()
    return str(path), None


def _find_strays() -> tuple[int, ...]:
    """Engines of this user whose parent is no Python any more: their gateway died, and they did not notice."""
    found: list[int] = []
    for process in psutil.process_iter(["pid", "cmdline", "uids"]):
        if not any(ENGINE_MODULE in word for word in process.info["cmdline"] or ()):
            continue
        try:
            parent = process.parent()
            if parent is None or not _may_be_gateway(parent):
                found.append(process.pid)
        except psutil.Error:  # it ended while we looked
            continue
    return tuple(found)


def _may_be_gateway(process: psutil.Process) -> bool:
    return any(word in process.name().lower() for word in ("python", "pomona"))


def _url(host: str, number: int, path: str) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{number}{path}" if ":" in reachable else f"http://{reachable}:{number}{path}"
