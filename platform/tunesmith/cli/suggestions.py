"""Which option was probably meant by one that there is not."""

from typing import Any

from tunesmith.spec.problems import did_you_mean


def option_meant(wrong: str, command: Any) -> str | None:
    """The option that was probably meant; one of another meaning is never named.

    Args:
        wrong: What was given, with its dashes.
        command: The command that it was given to.
    """
    known: dict[str, str] = {}
    for parameter in getattr(command, "params", ()):
        for name in (*parameter.opts, *parameter.secondary_opts):
            if name.startswith("--"):
                known[name[2:].replace("-", "_")] = name
    meant = did_you_mean(wrong.lstrip("-"), known)
    return known[meant] if meant else None
