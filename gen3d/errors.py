"""Errors that a user sees: each is a sentence saying what was wrong, with which value, and what to do."""


class Gen3DError(Exception):
    """A failure the user can act on. The command line prints the message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(Gen3DError):
    """A bad prompt, option, configuration key or value (exit code 2)."""

    exit_code = 2
