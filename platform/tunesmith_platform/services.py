"""The control plane's parts in one place, put together once in `app.py`.

Known to the app alone: endpoints and loops say by a protocol of their own, `Services`, which of them they work with.
"""

from dataclasses import dataclass

from tunesmith_platform.access.service import AccessService
from tunesmith_platform.access.sign_in_service import SignInService
from tunesmith_platform.audit.service import AuditService
from tunesmith_platform.auth import Keys
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.backends.protocols import Jobs, Tracking
from tunesmith_platform.chats.asking import Asking
from tunesmith_platform.checkpoints.service import CheckpointService
from tunesmith_platform.conversations.ratings import RatingService
from tunesmith_platform.conversations.service import ConversationService
from tunesmith_platform.conversations.talking import Talking
from tunesmith_platform.datasets.reports import ReportService
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.datasets.uploads import UploadService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.estimates.service import EstimateService
from tunesmith_platform.evaluations.forecast import Forecasts
from tunesmith_platform.evaluations.samples_service import SampleService
from tunesmith_platform.evaluations.service import EvaluationService
from tunesmith_platform.events.feeds import Feeds
from tunesmith_platform.events.service import EventService
from tunesmith_platform.hub import Hub
from tunesmith_platform.keys.service import KeyService
from tunesmith_platform.models.service import ModelService
from tunesmith_platform.monitoring.following import WorkspaceFeeds
from tunesmith_platform.monitoring.service import MonitoringService
from tunesmith_platform.monitoring.workspace import Workspace
from tunesmith_platform.notifications.service import NotificationService
from tunesmith_platform.packaging.choosing import ChoosingService
from tunesmith_platform.packaging.kept import KeptPackages
from tunesmith_platform.packaging.links import Links
from tunesmith_platform.packaging.service import PackagingService
from tunesmith_platform.pipelines.service import PipelineService
from tunesmith_platform.projects.service import ProjectService
from tunesmith_platform.quota.service import QuotaService
from tunesmith_platform.rates import Rate
from tunesmith_platform.runners.service import RunnerService
from tunesmith_platform.series.service import SeriesService
from tunesmith_platform.settings import Settings
from tunesmith_platform.sse import Streams
from tunesmith_platform.system.environment import EnvironmentService
from tunesmith_platform.system.service import SystemService
from tunesmith_platform.tasks.derive import TaskVerbs
from tunesmith_platform.tasks.kinds.registry import Kinds
from tunesmith_platform.tasks.moves import Moves
from tunesmith_platform.tasks.rows import RowService
from tunesmith_platform.tasks.service import TaskService
from tunesmith_platform.templates.service import TemplateService


@dataclass
class Services:
    """The control plane's parts."""

    settings: Settings
    database: Database
    hub: Hub
    keys: Keys
    changes: Rate
    """Calls that change something, by their key."""
    wrong_keys: Rate
    """What counts for nothing and is shown all the same, by who shows it."""
    access: AccessService
    sign_in: SignInService
    audit: AuditService
    key_service: KeyService
    projects: ProjectService
    jobs: Jobs
    compute: ComputeService
    runners: RunnerService
    tracking: Tracking | None
    moves: Moves
    tasks: TaskService
    verbs: TaskVerbs
    templates: TemplateService
    events: EventService
    feeds: Feeds
    streams: Streams
    series: SeriesService
    checkpoints: CheckpointService
    asking: Asking
    conversations: ConversationService
    talking: Talking
    ratings: RatingService
    evaluations: EvaluationService
    packaging: PackagingService
    choosing: ChoosingService
    kept_packages: KeptPackages
    links: Links
    forecasts: Forecasts
    rows: RowService
    quota: QuotaService
    models: ModelService
    datasets: DatasetService
    uploads: UploadService
    reports: ReportService
    samples: SampleService
    kinds: Kinds
    pipelines: PipelineService
    estimates: EstimateService
    monitoring: MonitoringService
    workspace: Workspace
    following: WorkspaceFeeds
    notifications: NotificationService
    environment: EnvironmentService
    system: SystemService
