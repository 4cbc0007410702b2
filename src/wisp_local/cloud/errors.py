"""The errors of a local cloud; all are `WispError`, so that the command line prints them with a hint."""

from wisp.base.errors import SettingError, WispError


class StateError(SettingError):
    """The state file cannot be used: unreadable, corrupt, another program's, or made by another version of wisp."""


class SeedError(SettingError):
    """A seed file cannot be read, or asks for something that Azure does not allow."""


class NotFoundError(WispError):
    """The named object does not exist (Resource Manager: 404)."""


class ConflictError(WispError):
    """Another object conflicts with this one (409)."""


class RequestError(WispError):
    """The request breaks a rule of Azure's, whatever other objects there are (400)."""
