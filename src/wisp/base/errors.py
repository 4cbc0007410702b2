"""The errors that end a command.

Each one says what happened, to what, and what to do. Error answers to workloads are values (`wisp.imds.answer`) and not
exceptions, because a request that is refused is not an error of the proxy.

    WispError            exit status 1
    ├── SettingError     exit status 2   an environment variable, option or file is missing or invalid
    ├── PrivilegeError   exit status 3   the kernel refused: a capability or a namespace is missing
    └── ToolError        exit status 1   a system tool (nft, ip, unshare ...) is missing or failed
"""


class WispError(Exception):
    """Something went wrong. `problem` says what happened and to what, `hint` what to do about it.

    Neither may hold a token, an assertion or a secret: the text is printed as it is.
    """

    exit_status = 1

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}: {self.hint}"

    def report(self) -> str:
        """Return what a command prints on standard error: one line for the problem and one for the hint."""
        problem, hint = (" ".join(text.split("\n")) for text in (self.problem, self.hint))
        return f"error: {problem}\nhint: {hint}\n"


class SettingError(WispError):
    """A setting is missing or cannot be used; the program refuses to start."""

    exit_status = 2


class PrivilegeError(WispError):
    """The kernel refused an operation that needs a capability this process does not hold."""

    exit_status = 3


class ToolError(WispError):
    """A system tool is missing or reported a failure."""


def origin_of(error: Exception) -> str:
    """Return the file and the line that raised `error`, for logs: its text may hold what a client sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
