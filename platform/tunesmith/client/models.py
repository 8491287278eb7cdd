"""Base models: what is here, what their files say, which tasks start from them.

Knows the models' endpoints and views; knows no HTTP.
"""

import builtins
from typing import Any

from tunesmith import views
from tunesmith.client.calls import Calls, path_of
from tunesmith.model_views import ModelView


class Models(Calls):
    """`client.models`: every call on base models. A model is named by its id or its name."""

    def list(self) -> builtins.list[ModelView]:
        """Every model by name: those in the models folder, found by themselves, and those that were registered."""
        return self._get(views.Page[ModelView], "/v1/models").data

    def show(self, model: str) -> ModelView:
        """A model with its license and the newest tasks that start from it."""
        return self._model("GET", _path(model))

    def register(self, source: str, name: str | None = None) -> ModelView:
        """Register a folder; the same one again is found, not made twice.

        Args:
            source: The folder's absolute path, as the server sees it, or the hub id of a model that was pulled.
            name: What tasks may call it by; its folder's name when None.

        Raises:
            InvalidModel: It cannot be trained, or is not there; the hint says what to do.
            PathNotAllowed: It lies outside the server's allowed roots.
            Conflict: Another model has the name.
        """
        return self._model("POST", "/v1/models", {"source": source} | ({"name": name} if name else {}))

    def check(self, model: str) -> ModelView:
        """Read all files of a model again."""
        return self._model("POST", f"{_path(model)}:check")

    def rename(self, model: str, name: str) -> ModelView:
        """Give a model another name.

        Raises:
            Conflict: Another model has it.
        """
        return self._model("PATCH", _path(model), {"name": name})

    def forget(self, model: str) -> None:
        """Take a model from the registry; its files stay.

        Raises:
            Conflict: It lies in the models folder, where it would be found again.
        """
        self._delete(_path(model))

    def _model(self, method: str, path: str, body: dict[str, Any] | None = None) -> ModelView:
        return self._view(ModelView, self._transport.call(method, path, body=body))


def _path(model: str) -> str:
    return path_of("/v1/models", model, what="A model's id or name", shown_by="tunesmith models list")
