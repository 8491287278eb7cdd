"""What the control plane hands to a job that serves a base model and its adapters. Everything in it is resolved."""

from pydantic import Field

from tunesmith.chat.wire import PackagedGguf, ServedModel
from tunesmith.model_step import ModelDocument


class ChatDocument(ModelDocument):
    """Everything an attempt to serve needs: the base is the document's own model; adapters come with the questions.

    Callers show `tunesmith.job.serve_token(token)`, which the attempt computes from its own token.
    """

    serve_host: str = Field(
        "127.0.0.1", description="Where Ray Serve listens: loopback, or a node's own address."
    )
    serve_port: int = Field(
        ge=1, le=65535, description="Its port: the same for all applications of a cluster."
    )
    cache_dir: str = Field(description="Folder on the node for files that are made once, such as GGUF.")
    file: PackagedGguf | None = Field(
        None, description="A packaged file that is served, instead of a folder's model."
    )
    first: ServedModel | None = Field(
        None, description="Loaded as soon as there is a replica, before anybody asks: the base or an adapter."
    )
    pinned: list[ServedModel] = Field(
        default_factory=list, description="Adapters that stay loaded: those that were pinned before."
    )

    @property
    def application(self) -> str:
        """The name of its application on Ray Serve."""
        return application_of(self.task_id, self.attempt)

    @property
    def route(self) -> str:
        """What the paths of its requests begin with."""
        return route_of(self.task_id, self.attempt)


class ProveDocument(ModelDocument):
    """Everything an attempt to prove a served model needs."""

    cache_dir: str = Field(
        description="See `ChatDocument.cache_dir`: what is proven are the files that lie there."
    )


def application_of(task_id: str, attempt: int) -> str:
    """The name on Ray Serve of an attempt's application: no two attempts share one."""
    return f"chat-{task_id}-{attempt}"


def route_of(task_id: str, attempt: int) -> str:
    """What the paths of an attempt's requests begin with."""
    return f"/{application_of(task_id, attempt)}"
