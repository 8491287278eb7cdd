"""Templates, from Python: `client.templates`. Knows their endpoints and views; YAML is read and written here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunesmith.client.calls import Calls, path_of
from tunesmith.templates import TemplateView, from_yaml, to_yaml


class Templates(Calls):
    """Templates: list, show, save, change, delete, and carry them as YAML."""

    def list(self) -> Iterator[TemplateView]:
        """Every template: those that came with the platform, then the users' by name."""
        return self._pages(TemplateView, "/v1/templates", 200)

    def get(self, name: str) -> TemplateView:
        """A template.

        Raises:
            NotFound: There is none of this name.
        """
        return self._get(TemplateView, _path(name))

    def save(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        from_task: str | None = None,
        with_places: bool = False,
        description: str = "",
    ) -> TemplateView:
        """Save a template.

        Args:
            name: Its name; no other template has it.
            parameters: Some of a task's parameters.
            from_task: Id of a task whose parameters are taken; `parameters` win over them.
            with_places: Keep that task's model, data and output folder too.
            description: What it is for.

        Raises:
            InvalidInput: The parameters are not those of a task.
            Conflict: The name is taken.
        """
        body: dict[str, Any] = {
            "name": name,
            "parameters": dict(parameters or {}),
            "description": description,
        }
        if from_task is not None:
            body |= {"from_task": from_task, "with_places": with_places}
        return self._view(
            TemplateView, self._transport.call("POST", "/v1/templates", body=body, repeats=False)
        )

    def change(
        self,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        hides: Sequence[str] | None = None,
    ) -> TemplateView:
        """Rename a template, or change what it holds; what is None stays. Built-in ones cannot be changed."""
        change: dict[str, Any] = {
            "name": new_name,
            "description": description,
            "parameters": None if parameters is None else dict(parameters),
            "hides": None if hides is None else [*hides],
        }
        body = {key: value for key, value in change.items() if value is not None}
        return self._view(TemplateView, self._transport.call("PATCH", _path(name), body=body))

    def rename(self, name: str, new_name: str) -> TemplateView:
        """Give a template another name."""
        return self.change(name, new_name=new_name)

    def delete(self, name: str) -> None:
        """Delete a template; tasks made from it keep their parameters. Built-in ones stay."""
        self._delete(_path(name))

    def export_yaml(self, name: str) -> str:
        """A template as YAML."""
        return to_yaml(self.get(name))

    def import_yaml(self, text: str, *, name: str | None = None) -> TemplateView:
        """Save a template from YAML.

        Args:
            text: As `export_yaml` wrote it, or by hand.
            name: Its name here; the one it carries when none is given.
        """
        template = from_yaml(text)
        body = template.model_dump(mode="json") | ({"name": name} if name else {})
        return self._view(
            TemplateView, self._transport.call("POST", "/v1/templates", body=body, repeats=False)
        )


def _path(name: str) -> str:
    return path_of("/v1/templates", name, what="A template's name", shown_by="tunesmith templates list")
