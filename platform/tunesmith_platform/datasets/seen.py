"""The registry of data sets as one scope sees it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tunesmith.spec.base import Spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.find_inputs import StoredFile

if TYPE_CHECKING:
    from tunesmith_platform.datasets.service import DatasetService


class SeenDatasets(NamedTuple):
    """The registry as a scope sees it."""

    registry: "DatasetService"
    scope: Scope

    def find(self, dataset: str) -> StoredFile:
        """See `DatasetService.find`."""
        return self.registry.find(self.scope, dataset)

    def pinned(self, spec: Spec, fields: Iterable[str]) -> dict[str, str]:
        """See `DatasetService.pinned`."""
        return self.registry.pinned(self.scope, spec, fields)

    def expect_free(self, name: str) -> None:
        """See `DatasetService.expect_free`."""
        self.registry.expect_free(self.scope, name)
