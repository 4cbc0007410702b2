"""The errors of the local cloud's state; all are `WispError`, so that the command line prints them in one line.

StateError      the state file cannot be used: unreadable, corrupt, another program's, or made by a newer wisp
SeedError       a seed file cannot be read, or asks for what there cannot be
NotFoundError   the named object does not exist (Resource Manager: 404)
ConflictError   another object stands in the way (409)
RequestError    what was asked for is not possible, whatever is there (400)
"""

from wisp.base.errors import SettingError, WispError


class StateError(SettingError):
    """The state file cannot be used."""


class SeedError(SettingError):
    """A seed file cannot be used."""


class NotFoundError(WispError):
    """The named object does not exist."""


class ConflictError(WispError):
    """Another object stands in the way of this one."""


class RequestError(WispError):
    """What was asked for breaks a rule of Azure's, whatever else is there."""
