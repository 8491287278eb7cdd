"""Every call of the REST API as a typed method.

Knows the endpoints and their views; `transport` knows HTTP, `stream` knows the live stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from pydantic import BaseModel

from tunesmith import views
from tunesmith.access import SignInLink
from tunesmith.chat.views import ChatReply
from tunesmith.client.access import AuditCalls, KeyCalls, ProjectCalls
from tunesmith.client.chats import Chats, Turn
from tunesmith.client.conversations import Conversations
from tunesmith.client.datasets import Datasets
from tunesmith.client.models import Models
from tunesmith.client.monitoring import Monitoring
from tunesmith.client.packages import Packages
from tunesmith.client.pipelines import Pipelines
from tunesmith.client.quota import Quota
from tunesmith.client.samples import Samples
from tunesmith.client.series import Series
from tunesmith.client.templates import Templates
from tunesmith.client.transport import Transport, find_server
from tunesmith.client.webhooks import Webhooks
from tunesmith.environment import Environment
from tunesmith.errors import TunesmithError
from tunesmith.estimate import EstimateView
from tunesmith.home import Home
from tunesmith.spec.task import NewTask
from tunesmith.spec.training import TrainSpec


class Client(Packages):
    """The control plane, from Python.

    With no arguments it finds the server by `TUNESMITH_URL` and `TUNESMITH_API_KEY`, else by the state folder of
    a platform that was started with `tunesmith up` on this machine. Calls are repeated while the server is away or
    busy; creating a task carries an `Idempotency-Key`, so a repeat never makes a second task.

    Args:
        url: Where the API answers.
        api_key: The key; it shows in no `repr` and in no error.
        home: The state folder.
        retry_seconds: How long one call is repeated while the server is away or busy.
        patience: Seconds without any server after which `stream` and `wait` give up.

    Raises:
        CannotConnect: No address is given, and no platform was started in the state folder.
        InvalidInput: The address is no HTTP URL.

    Every method raises the error that the server answered (`tunesmith.errors`), or `CannotConnect`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        home: Home | None = None,
        retry_seconds: float = 8.0,
        patience: float = 120.0,
    ) -> None:
        found, key = find_server(url, api_key, home or Home())
        super().__init__(Transport(found, key, retry_seconds=retry_seconds), patience)

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self._transport.url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def chats(self) -> Chats:
        """Chats: ask a model, see what is served."""
        return Chats(self._transport)

    @property
    def conversations(self) -> Conversations:
        """Conversations that are kept: ask within one, rate, export."""
        return Conversations(self._transport)

    def chat(self, model: str, conversation: str | Sequence[Turn], **settings: Any) -> ChatReply:
        """An answer, once it is whole; as it comes: `chats.stream`.

        Args:
            model: `NAME`, `TASK`, `TASK:40`, `TASK:latest`.
            conversation: The question; or all turns, each with `role` and `content`.
            settings: See `ChatSettings`, and `wait_seconds`.
        """
        return self.chats.ask(model, conversation, **settings)

    @property
    def templates(self) -> Templates:
        """Templates: parameters under a name."""
        return Templates(self._transport)

    @property
    def datasets(self) -> Datasets:
        """Data sets: files under a name, reports on them, and rows under the microscope."""
        return Datasets(self._transport)

    @property
    def samples(self) -> Samples:
        """Samples of evaluations: ours, and data sets of them that are edited."""
        return Samples(self._transport)

    @property
    def models(self) -> Models:
        """Base models."""
        return Models(self._transport)

    @property
    def pipelines(self) -> Pipelines:
        """Pipelines: data sets and trainers tied together in YAML."""
        return Pipelines(self._transport)

    @property
    def keys(self) -> KeyCalls:
        """API keys."""
        return KeyCalls(self._transport)

    @property
    def audit(self) -> AuditCalls:
        """Who did what to what."""
        return AuditCalls(self._transport)

    @property
    def projects(self) -> ProjectCalls:
        """Projects, and who works in them."""
        return ProjectCalls(self._transport)

    @property
    def quota(self) -> Quota:
        """Training quotas."""
        return Quota(self._transport)

    @property
    def series(self) -> Series:
        """What tasks measured: curves, comparisons, exports."""
        return Series(self._transport)

    @property
    def monitoring(self) -> Monitoring:
        """Autopsies, logs in full, and the list of tasks as it changes."""
        return Monitoring(self._transport, self._patience)

    @property
    def webhooks(self) -> Webhooks:
        """Webhooks and the delivery log."""
        return Webhooks(self._transport)

    # --- the platform

    def is_up(self) -> bool:
        """Whether the server answers; needs no key."""
        try:
            return bool(self._transport.call("GET", "/healthz", repeats=False))
        except TunesmithError:
            return False

    def system(self) -> views.SystemView:
        """The platform's parts, limits and counts."""
        return self._get(views.SystemView, "/v1/system")

    def mlflow_link(self, task: str | None = None) -> views.MlflowLink:
        """A link that lets one browser into MLflow, once.

        Args:
            task: The id or unique name of the task whose run it shows; MLflow's first page when None.
        """
        query = {"task_id": self.task(task).id if task else None}
        found = self._transport.call("POST", "/v1/system/mlflow-link", query=query)
        return self._view(views.MlflowLink, found)

    def sign_in_link(self) -> SignInLink:
        """An address that signs one browser in to the studio, once."""
        return self._view(SignInLink, self._transport.call("POST", "/v1/sessions:link"))

    def environment(self, device: str = "auto", disk_bytes: int | None = None) -> Environment:
        """What a task needs before it starts, each part with what was found and its cure.

        Args:
            device: What the task would train on: `auto`, `cpu` or `gpu`.
            disk_bytes: What it would write, as its estimate says.
        """
        query = {"device": device, "disk_bytes": disk_bytes}
        return self._get(Environment, "/v1/system/environment", query)

    def schema(self, kind: str = "train") -> dict[str, Any]:
        """JSON Schema of a task kind's parameters, with labels, groups and visibility rules."""
        found: dict[str, Any] = self._transport.call("GET", f"/v1/schema/{quote(kind, safe='')}")
        return found

    # --- what a task will take

    def estimate(self, new: NewTask | TrainSpec | Mapping[str, Any], measure: bool = False) -> EstimateView:
        """Steps, tokens, disk, memory and time of a run, and settings that need less. Starts no task.

        Args:
            new: The task, or its parameters alone.
            measure: Take two real steps on the longest batch. The answer comes at once; while its
                `measurement.state` is `measuring`, ask `estimation` with its id.

        Raises:
            InvalidInput: Something in it cannot be trained on.
            Conflict: It cannot be measured now: another measurement or a task is under way.
        """
        given = new.model_dump(mode="json", exclude_unset=True) if isinstance(new, BaseModel) else dict(new)
        body = given if "spec" in given else {"spec": given}
        found = self._transport.call("POST", "/v1/tasks:estimate", body=body, query={"measure": measure})
        return self._view(EstimateView, found)

    def estimation(self, measurement_id: str) -> EstimateView:
        """An estimate that is being measured, as far as it is."""
        return self._get(EstimateView, f"/v1/estimates/{quote(measurement_id, safe='')}")
