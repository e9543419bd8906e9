"""What a command of `linewarden` can end with. Every message is one line: what is wrong, where, what to do."""


class CommandFailed(Exception):
    """Root of what this folder raises; `linewarden` prints it and exits with 1."""
