"""Base models: what is here, what their files say, which tasks start from them.

Knows the models' endpoints and views; knows no HTTP.
"""

import builtins
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tunesmith import views
from tunesmith.client.transport import Transport, not_understood
from tunesmith.errors import InvalidInput, NotFound, TunesmithError
from tunesmith.model_views import ModelView

View = TypeVar("View", bound=BaseModel)


class Models:
    """`client.models`: every call on base models. A model is named by its id or its name."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> builtins.list[ModelView]:
        """Every model by name: those in the models folder, found by themselves, and those that were registered."""
        return self._view(views.Page[ModelView], self._transport.call("GET", "/v1/models")).data

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
        repeats: builtins.list[TunesmithError] = []
        try:
            self._transport.call("DELETE", _path(model), on_retry=repeats.append)
        except NotFound:
            if not repeats:  # else the first try forgot it, and only its answer was lost
                raise

    def _model(self, method: str, path: str, body: dict[str, Any] | None = None) -> ModelView:
        return self._view(ModelView, self._transport.call(method, path, body=body))

    def _view(self, view: type[View], raw: Any) -> View:
        try:
            return view.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error


def _path(model: str) -> str:
    if model in {"", ".", ".."}:  # these would lead to another endpoint
        raise InvalidInput("A model's id or name is needed.", hint="`tunesmith models list` shows them.")
    return f"/v1/models/{quote(model, safe='')}"
