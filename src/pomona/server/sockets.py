"""Listening sockets, bound before anything else starts, with errors that say who is in the way and what to change."""

import errno
import socket
from dataclasses import dataclass

import psutil

from pomona.core.errors import ConfigurationError

_BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket that listens, and the URL that reaches it."""

    socket: socket.socket
    url: str


def listen(host: str, port: int, section: str) -> Listener:
    """Listen on `host`:`port`; port 0 picks a free one. Raises ConfigurationError naming the settings `section`host and `section`port.

    `section` is the beginning of the settings' names, such as `server.` or `server.admin_`.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ConfigurationError(f"{section}host = {host!r} is not an address of this machine: {error}. Try '127.0.0.1'.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # now, not later: until then another process could take the port as well
    except OSError as error:
        listener.close()
        raise ConfigurationError(_explain(error, host, port, section)) from None
    listener.setblocking(False)
    bound_port = listener.getsockname()[1]
    return Listener(socket=listener, url=f"http://{_reachable(host)}:{bound_port}")


def _explain(error: OSError, host: str, port: int, section: str) -> str:
    variable = f"POMONA_{section.upper().replace('.', '__')}PORT"
    change = f"set {section}port (or {variable}) to another port; 0 picks a free one"
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken{_owner(port)}. Stop what runs there, or {change}."
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} is not allowed for this user; ports below 1024 often are not. As a way out, {change}."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{section}host = {host!r} is not an address of this machine. Use '127.0.0.1' for this machine only, '0.0.0.0' for all."
    return f"Cannot listen on {host} port {port}: {error.strerror}. Check {section}host, or {change}."


def _owner(port: int) -> str:
    """Who listens on `port`, where the system tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()!r} (process {connection.pid})"
    except (psutil.Error, OSError):  # macOS tells only the administrator
        pass
    return ", perhaps by another Pomona"


def _reachable(host: str) -> str:
    """What to write into a URL: a wildcard address is reached through the loopback."""
    shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]" if ":" in shown else shown
