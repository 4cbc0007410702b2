"""The audit log: one JSON object per token granted or refused, on standard output. Never a token.

It can neither block the process nor fill its memory. Lines are written together, once in a turn of the loop, while the
reader has room. A reader that is too slow costs lines: the next line says how many were lost.
"""

import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from wisp.base.jsontext import to_json
from wisp.base.masking import masked
from wisp.gateway.types import Caller, TokenForm, TokenRefusal

_WRITE_LIMIT = select.PIPE_BUF
"""Bytes of one write: a pipe that has any room takes so many whole (pipe(7)), so writing neither blocks nor is cut."""
_WAITING_LIMIT = 1024 * 1024
"""Bytes of lines that wait for their turn or for the reader. Usual lines have 500; a turn may have one a connection."""
_REFUSALS_LIMIT = _WAITING_LIMIT // 2
"""Bytes from which on refusals are lost: anybody can cause them, and none may cost a grant its line."""
_FIELD_LIMIT = 256
"""Characters of a field. Names of Kubernetes objects have 253 at most."""
_REASON_LIMIT = 1024
_PAUSE = 0.005
"""Seconds until a full pipe is looked at again: it holds 64 KiB, so 13 MB pass in a second if the reader is quick."""
_NOBODY = Caller("", "", (), ())


GrantLine: TypeAlias = tuple[bytes, bytes]
"""The line of a grant without its time and correlation id: what is between them, and what follows."""


class AuditedRequest(NamedTuple):
    """What is known of a token request when it ends: `form` and `caller` only if they were valid."""

    source: str
    correlation_id: str
    form: TokenForm | None = None
    caller: Caller | None = None


class AuditLog:
    """Write audit lines to `descriptor`.

    `later` calls a function after some seconds, or, for 0, in the next turn of the loop. `unix` gives Unix seconds.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        descriptor: int = 1,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0
        """Lines that could not be written since the process started."""
        self._unreported = 0
        self._second, self._second_text = -1, ""
        self._moment = b""
        """The time of the lines that are written in the same turn of the loop."""
        self._later = later
        self._descriptor = descriptor
        self._unix = unix
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._scheduled = False
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def granted(self, request: AuditedRequest) -> None:
        """Record that the caller got a token."""
        self.granted_again(self.grant_line(request), request.correlation_id)

    def granted_again(self, line: GrantLine, correlation_id: str) -> None:
        """Record that the caller got a token, with the `line` that `grant_line` returned for the same request."""
        before, after = line
        if self._unreported:
            after = b'%b,"lost":%d}' % (after[:-1], self._unreported)
        self._append(b'{"time":"%b%b%b%b\n' % (self._time(), before, correlation_id.encode(), after))

    def grant_line(self, request: AuditedRequest) -> GrantLine:
        """Return the line for a grant: what is between the time and the correlation id, and what follows that."""
        fields = self._fields("token granted", "granted", request._replace(correlation_id=""))
        before, middle, after = to_json({**fields, "time": ""}).partition(b'"correlationId":"')
        return before.removeprefix(b'{"time":"') + middle, after

    def refused(self, request: AuditedRequest, refusal: TokenRefusal) -> None:
        """Record that there was no token, and why."""
        fields = self._fields("token refused", refusal.outcome, request)
        fields["status"] = refusal.status
        fields["code"] = refusal.code
        fields["reason"] = masked(refusal.description).strip()[:_REASON_LIMIT]
        self._add(fields)

    def abandoned(self, request: AuditedRequest) -> None:
        """Record that the connection ended before the request was decided."""
        self._add(self._fields("token request abandoned", "abandoned", request))

    def flush(self, seconds: float = 0.0) -> None:
        """Write the lines that wait, at the end of the process, for at most `seconds` while the reader is slow."""
        until = time.monotonic() + seconds
        self._write()
        while self._lines and (left := until - time.monotonic()) > 0 and self._room.poll(left * 1000):
            self._write()

    def _fields(self, event: str, result: str, request: AuditedRequest) -> dict[str, object]:
        caller, form = request.caller or _NOBODY, request.form
        fields = {
            "time": self._time().decode(),
            "event": event,
            "result": result,
            "namespace": caller.namespace,
            "serviceAccount": caller.service_account,
            "pod": caller.pod,
            "podUid": caller.pod_uid,
            "node": caller.node,
            "user": caller.username,
            "clientId": form.client_id if form else "",
            "tenant": form.tenant if form else "",
            "scope": masked(form.scope) if form else "",
            "correlationId": request.correlation_id,
            "source": request.source,
        }
        return {name: value[:_FIELD_LIMIT] for name, value in fields.items()}

    def _time(self) -> bytes:
        if not self._lines or not self._moment:
            unix = self._unix()
            second = int(unix)
            if second != self._second:
                self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._moment = f"{self._second_text}.{int((unix - second) * 1000):03}Z".encode()
        return self._moment

    def _add(self, fields: dict[str, object]) -> None:
        if self._unreported:
            fields["lost"] = self._unreported
        line = to_json(fields) + b"\n"
        if (excess := len(line) - _WRITE_LIMIT) > 0:  # a reason of 1,024 characters may have 6,144 bytes in JSON
            reason = str(fields.get("reason", ""))
            fields["reason"] = reason[: max(0, len(reason) - excess)]
            line = to_json(fields) + b"\n"
        self._append(line, _REFUSALS_LIMIT)

    def _append(self, line: bytes, limit: int = _WAITING_LIMIT) -> None:
        if self._waiting + len(line) > limit or len(line) > _WRITE_LIMIT:
            self._lose(1)
            return
        self._unreported = 0
        self._lines.append(line)
        self._waiting += len(line)
        self._schedule(0.0)

    def _lose(self, lines: int) -> None:
        self.lost += lines
        self._unreported += lines

    def _schedule(self, seconds: float) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._later(seconds, self._write_later)

    def _write_later(self) -> None:
        self._scheduled = False
        self._moment = b""  # lines may wait for longer than a turn, and later ones have a time of their own
        self._write()
        if self._lines:
            self._schedule(_PAUSE)

    def _write(self) -> None:
        """Write whole lines while the reader has room."""
        while self._lines and self._room.poll(0):
            piece = self._next_piece()
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:  # others have made the descriptor non-blocking, and have filled the pipe
                self._put_back(piece)
                return
            except OSError:  # the reader may be gone; the process serves on
                self._lose(piece.count(b"\n"))
                continue
            if written < len(piece):
                self._put_back(piece[written:])

    def _put_back(self, piece: bytes) -> None:
        self._lines.appendleft(piece)
        self._waiting += len(piece)

    def _next_piece(self) -> bytes:
        piece = self._lines.popleft()
        while self._lines and len(piece) + len(self._lines[0]) <= _WRITE_LIMIT:
            piece += self._lines.popleft()
        self._waiting -= len(piece)
        return piece
