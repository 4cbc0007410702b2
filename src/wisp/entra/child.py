"""One run of the exchange process, seen from the sidecar: how it is started, spoken to and ended."""

import os
import signal
from contextlib import suppress

import httptools

from wisp.base.isolation import child_environment, isolated_python
from wisp.entra.messages import pack_settings
from wisp.entra.settings import ExchangeSettings
from wisp.http.sockets import Socket, packet_pair

_PACKET_LIMIT = 256 * 1024
_COMMAND = isolated_python("wisp.entra.exchange", httptools)  # urllib3 is installed where httptools is


class Child:
    """A running exchange process at the other end of `channel`; `end` it, or it stays as a zombie."""

    def __init__(self, channel: Socket, pid: int) -> None:
        self._channel = channel
        self.pid = pid

    @classmethod
    def start(cls, settings: ExchangeSettings, command: tuple[str, ...] = _COMMAND) -> "Child":
        """Return a process that has been told its settings. Raise OSError where it cannot be had."""
        ours, theirs = packet_pair()
        try:
            child = cls(ours, _spawn(command, theirs))
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(0)
        try:
            child.send(pack_settings(settings))
        except OSError:
            child.end()
            raise
        return child

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` has something to say."""
        return self._channel.fileno()

    def send(self, packet: bytes) -> None:
        """Send one packet; to a process that is ending it is lost, and `receive` says so. Raise OSError otherwise."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(packet)

    def receive(self) -> bytes | None:
        """Return the next packet, None where there is none yet, nothing at all once the process has ended."""
        try:
            return self._channel.recv(_PACKET_LIMIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def end(self) -> None:
        """End the process, whatever it does, and wait until it is gone."""
        self._channel.close()
        os.kill(self.pid, signal.SIGKILL)  # a child not waited for is there to be killed, ended or not
        os.waitpid(self.pid, 0)


def _spawn(command: tuple[str, ...], channel: Socket) -> int:
    return os.posix_spawn(
        command[0],
        command,
        child_environment(),
        file_actions=[(os.POSIX_SPAWN_DUP2, channel.fileno(), 0)],
        # A signal to the whole group is for the sidecar, which decides when this process ends.
        setsigmask=[signal.SIGINT, signal.SIGTERM],
    )
