"""How often a lost job is begun again: one parameter, which several kinds of tasks have with words of their own."""

from collections.abc import Collection
from typing import Any

from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.roles import Role


def max_restarts(help: tuple[str, str], group: Group = Group.GENERAL, roles: Collection[Role] = ()) -> Any:  # noqa: A002
    """The parameter.

    Args:
        help: What is begun again, and from where, in English and Chinese.
        group: Where forms show it.
        roles: See `tunesmith.spec.roles`.
    """
    return param(
        3,
        label=("Maximum restarts", "最大重启次数"),
        help=help,
        group=group,
        fold=Fold.ADVANCED,
        roles=roles,
        step=1,
        ge=0,
        le=100,
    )
