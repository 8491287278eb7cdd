"""Training quotas: what a project may save, what its tasks hold, and the ledger of both.

Knows the quota's endpoints and views; knows no HTTP.
"""

import secrets
from collections.abc import Iterator

from tunesmith import views
from tunesmith.client.calls import Calls, path_of

DEFAULT_PROJECT = "default"


class Quota(Calls):
    """`client.quota`: every call on training quotas. Changes need an administrator's key."""

    def show(self, project: str = DEFAULT_PROJECT) -> views.QuotaView:
        """A project's quota; one that nobody has set is off and empty."""
        return self._get(views.QuotaView, _path(project))

    def list(self) -> Iterator[views.QuotaView]:
        """Every project that has a quota, by name, page by page as they are read."""
        return self._pages(views.QuotaView, "/v1/quota", 500)

    def change(
        self,
        project: str = DEFAULT_PROJECT,
        *,
        enabled: bool | None = None,
        low_threshold: int | None = None,
    ) -> views.QuotaView:
        """Switch a project's quota on or off, or set the level it warns at; what is None stays.

        Switched on, it holds for the tasks that are submitted from then on.

        Raises:
            Forbidden: The key is no administrator's.
        """
        change = {"enabled": enabled, "low_threshold": low_threshold}
        body = {name: value for name, value in change.items() if value is not None}
        return self._view(views.QuotaView, self._transport.call("PUT", _path(project), body=body))

    def grant(
        self,
        amount: int,
        project: str = DEFAULT_PROJECT,
        *,
        note: str = "",
        idempotency_key: str | None = None,
    ) -> views.QuotaEntryView:
        """Grant a project so many checkpoints.

        Args:
            amount: How many; negative takes away.
            project: Which project.
            note: What for.
            idempotency_key: The same key and body again answer the same grant. One is made when none is given,
                so that a repeat after a lost answer grants nothing twice.

        Raises:
            Forbidden: The key is no administrator's.
            IdempotencyConflict: The key was used with another body.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        body = {"amount": amount, "note": note}
        raw = self._transport.call("POST", f"{_path(project)}/grants", body=body, headers=headers)
        return self._view(views.QuotaEntryView, raw)

    def history_page(
        self,
        project: str = DEFAULT_PROJECT,
        limit: int = 100,
        after: str | None = None,
        *,
        task: str | None = None,
    ) -> views.Page[views.QuotaEntryView]:
        """One page of a project's ledger, newest first; go on with `after=<next>`."""
        query = {"task": task, "after": after, "limit": limit}
        return self._get(views.Page[views.QuotaEntryView], f"{_path(project)}/history", query)

    def history(
        self, project: str = DEFAULT_PROJECT, *, task: str | None = None
    ) -> Iterator[views.QuotaEntryView]:
        """A project's ledger, newest first, page by page as it is read.

        Args:
            project: Whose.
            task: Only the entries of the task with this id.
        """
        return self._pages(views.QuotaEntryView, f"{_path(project)}/history", 1000, {"task": task})


def _path(project: str) -> str:
    name = "" if "/" in project else project  # no project has one
    return path_of("/v1/quota", name, what="A project's name", shown_by="tunesmith quota list")
