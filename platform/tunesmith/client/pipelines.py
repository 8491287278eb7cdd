"""Pipelines, from Python: `client.pipelines`. Knows their endpoints and views."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.errors import InvalidInput
from tunesmith.pipelines import NewPipeline, PipelineView

_LOOK_SECONDS = 1.0


class Pipelines:
    """Pipelines: run, list, show, wait for, stop, continue, delete."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def run(self, new: NewPipeline | Mapping[str, Any]) -> PipelineView:
        """Check a pipeline and begin with it.

        Raises:
            InvalidInput: Something in it cannot be; with every problem and its place.
        """
        body = new.model_dump(mode="json", exclude_unset=True) if isinstance(new, NewPipeline) else dict(new)
        return self._view(self._transport.call("POST", "/v1/pipelines", body=body, repeats=False))

    def list(self) -> Iterator[PipelineView]:
        """Every pipeline, the newest first."""
        after: str | None = None
        while True:
            raw = self._transport.call("GET", "/v1/pipelines", query={"after": after, "limit": 100})
            try:
                page = views.Page[PipelineView].model_validate(raw)
            except ValidationError as error:
                raise not_understood(self._transport.url) from error
            yield from page.data
            if not page.has_more or page.next is None:
                return
            after = page.next

    def get(self, pipeline_id: str) -> PipelineView:
        """A pipeline as it stands.

        Raises:
            NotFound: There is none with this id.
        """
        return self._view(self._transport.call("GET", _path(pipeline_id)))

    def wait(self, pipeline_id: str, told: Callable[[PipelineView], None] | None = None) -> PipelineView:
        """Wait until a pipeline is over.

        Args:
            pipeline_id: Which.
            told: Called with the pipeline each time it is looked at.
        """
        while True:
            view = self.get(pipeline_id)
            if told is not None:
                told(view)
            if view.state.is_terminal:
                return view
            time.sleep(_LOOK_SECONDS)

    def stop(self, pipeline_id: str) -> PipelineView:
        """Ask for a pipeline's stop; of one that is over nothing changes."""
        return self._view(self._transport.call("POST", f"{_path(pipeline_id)}:stop"))

    def carry_on(self, pipeline_id: str) -> PipelineView:
        """Continue a pipeline from the step that failed or was stopped.

        Raises:
            Conflict: It runs, or has nothing left to do.
        """
        return self._view(self._transport.call("POST", f"{_path(pipeline_id)}:continue", repeats=False))

    def delete(self, pipeline_id: str, *, with_files: bool = False) -> None:
        """Delete a pipeline that is over and, if asked, the rows that it made. Its tasks stay."""
        query = {"with_files": "true" if with_files else "false"}
        self._transport.call("DELETE", _path(pipeline_id), query=query, repeats=False)

    def _view(self, raw: Any) -> PipelineView:
        try:
            return PipelineView.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error


def _path(pipeline_id: str) -> str:
    if pipeline_id in {"", ".", ".."}:  # these would lead to another endpoint
        raise InvalidInput("A pipeline's id is needed.", hint="`tunesmith pipelines list` shows them.")
    return f"/v1/pipelines/{quote(pipeline_id, safe='')}"
