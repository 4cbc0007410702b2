"""Who runs a program in the pod: writes the prefix that makes it a user without any capability."""

APPLICATION_UID = 1000
_NO_PRIVILEGE = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


def become(uid: int | None) -> tuple[str, ...]:
    """Return the command prefix for user `uid`; None stays who one is. Either way no capability is left."""
    ids = () if uid is None else (f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    return ("setpriv", *ids, *_NO_PRIVILEGE, "--")


def ends_with_parent() -> tuple[str, ...]:
    """Return the command prefix for a program that the kernel kills when the process that started it ends."""
    return ("setpriv", "--pdeathsig=KILL", "--")
