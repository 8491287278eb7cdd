"""A model that is named by its Hub id and is not here: it is pulled, where the platform lies on this machine.

Knows names, and whether the platform is here; fetching is `tunesmith models pull`.
"""

import contextlib
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tunesmith.cli.output import say
from tunesmith.client import Client
from tunesmith.errors import InvalidModel

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HERE = ("127.0.0.1", "localhost", "::1")


def bring_model(client: Client, given: str) -> None:
    """Pull a model that is named by its Hub id, unless the platform has it.

    Args:
        client: The platform.
        given: `model_name_or_path`; what is no Hub id is left to the platform.

    Raises:
        InvalidModel: It is not there, and cannot be fetched.
    """
    if not _HUB_ID.fullmatch(given) or Path(given).exists():
        return
    known = client.models.list()
    if any(given in (model.name, model.hub_id) for model in known):
        return
    if urlsplit(client.url).hostname not in _HERE:
        raise InvalidModel(
            f"There is no model `{given}` on the platform.",
            hint=f"Pull it on its machine with `tunesmith models pull {given}`.",
            field="model_name_or_path",
        )
    say(f"`{given}` is not here: it is pulled from the Hub.")
    with contextlib.redirect_stdout(sys.stderr):  # what goes to stdout is the task's id
        code = _pull(["models", "pull", given])
    if code:
        raise InvalidModel(
            f"`{given}` is not here, and could not be pulled.",
            hint="Check the name and that this machine reaches the Hub (`HF_ENDPOINT` names a mirror), or give the "
            "folder of a model that is here.",
            field="model_name_or_path",
        )


def _pull(arguments: list[str]) -> int:
    from tunesmith.cli.main import run  # it holds the commands of every package

    return run(arguments)
