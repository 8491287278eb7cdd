"""Pipelines, from Python: `client.pipelines`. Knows their endpoints and views."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tunesmith.client.calls import Calls, path_of
from tunesmith.pipelines import NewPipeline, PipelineView

_LOOK_SECONDS = 1.0


class Pipelines(Calls):
    """Pipelines: run, list, show, wait for, stop, continue, delete."""

    def run(self, new: NewPipeline | Mapping[str, Any], idempotency_key: str | None = None) -> PipelineView:
        """Check a pipeline and begin with it.

        Args:
            new: What to run.
            idempotency_key: The same key and body again answer the same pipeline. One is made when none is given,
                so that a repeat after a lost answer begins no second one.

        Raises:
            InvalidInput: Something in it cannot be; with every problem and its place.
            IdempotencyConflict: The key was used with another body.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        body = new.model_dump(mode="json", exclude_unset=True) if isinstance(new, NewPipeline) else dict(new)
        return self._view(
            PipelineView, self._transport.call("POST", "/v1/pipelines", body=body, headers=headers)
        )

    def list(self) -> Iterator[PipelineView]:
        """Every pipeline, the newest first."""
        return self._pages(PipelineView, "/v1/pipelines", 100)

    def get(self, pipeline_id: str) -> PipelineView:
        """A pipeline as it stands.

        Raises:
            NotFound: There is none with this id.
        """
        return self._get(PipelineView, _path(pipeline_id))

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
        return self._view(PipelineView, self._transport.call("POST", f"{_path(pipeline_id)}:stop"))

    def carry_on(self, pipeline_id: str) -> PipelineView:
        """Continue a pipeline from the step that failed or was stopped.

        Raises:
            Conflict: It runs, or has nothing left to do.
        """
        return self._view(
            PipelineView, self._transport.call("POST", f"{_path(pipeline_id)}:continue", repeats=False)
        )

    def delete(self, pipeline_id: str, *, with_files: bool = False) -> None:
        """Delete a pipeline that is over and, if asked, the rows that it made. Its tasks stay."""
        query = {"with_files": "true" if with_files else "false"}
        self._transport.call("DELETE", _path(pipeline_id), query=query, repeats=False)


def _path(pipeline_id: str) -> str:
    return path_of("/v1/pipelines", pipeline_id, what="A pipeline's id", shown_by="tunesmith pipelines list")
