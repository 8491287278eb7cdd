"""Puts the control plane together: settings, database, backends, services, endpoints.

Run with `python -m tunesmith_platform.app`. Only this module may mount the UI.
"""

import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator

if __name__ == "__main__":
    gc.disable()  # what a start makes stays: looking through it again and again takes a fifth of the start

import anyio.to_thread
import fastapi_swagger
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

import tunesmith
from tunesmith.errors import TunesmithError
from tunesmith_platform import logs
from tunesmith_platform.access import endpoints as access_endpoints
from tunesmith_platform.access import sign_in_endpoints
from tunesmith_platform.access.open_answers import OpenAnswers
from tunesmith_platform.access.service import AccessService
from tunesmith_platform.access.sign_in_service import SignInService
from tunesmith_platform.audit import endpoints as audit_endpoints
from tunesmith_platform.audit.service import AuditService
from tunesmith_platform.auth import Keys
from tunesmith_platform.backends.clearing import ClearedJobs
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.backends.mlflow import MlflowTracking
from tunesmith_platform.backends.protocols import Jobs, Tracking
from tunesmith_platform.backends.ray_jobs import RayJobs
from tunesmith_platform.background import background_loops
from tunesmith_platform.caller import Callers
from tunesmith_platform.chats import endpoints as chat_endpoints
from tunesmith_platform.chats import proofs
from tunesmith_platform.chats import reported as chats_reported
from tunesmith_platform.chats.asking import Asking
from tunesmith_platform.chats.names import Names
from tunesmith_platform.chats.service import ChatService
from tunesmith_platform.checkpoints import endpoints as checkpoint_endpoints
from tunesmith_platform.checkpoints import reported
from tunesmith_platform.checkpoints.service import CheckpointService
from tunesmith_platform.conversations import endpoints as conversation_endpoints
from tunesmith_platform.conversations.ratings import RatingService
from tunesmith_platform.conversations.service import ConversationService
from tunesmith_platform.conversations.talking import Talking
from tunesmith_platform.conversations.writing import Writing
from tunesmith_platform.datasets import endpoints as dataset_endpoints
from tunesmith_platform.datasets import lineage
from tunesmith_platform.datasets.reports import ReportService
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.datasets.uploads import UploadService
from tunesmith_platform.db import connections, schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.estimates import endpoints as estimate_endpoints
from tunesmith_platform.estimates.service import EstimateService
from tunesmith_platform.evaluations import endpoints as evaluation_endpoints
from tunesmith_platform.evaluations import reported as evaluations_reported
from tunesmith_platform.evaluations import samples_endpoints, training_scores
from tunesmith_platform.evaluations.forecast import Forecasts
from tunesmith_platform.evaluations.samples_service import SampleService
from tunesmith_platform.evaluations.service import EvaluationService
from tunesmith_platform.event_log.listeners import Listeners
from tunesmith_platform.events import endpoints as event_endpoints
from tunesmith_platform.events.feeds import Feeds
from tunesmith_platform.events.service import EventService
from tunesmith_platform.http import install_errors
from tunesmith_platform.hub import Hub
from tunesmith_platform.keys import endpoints as key_endpoints
from tunesmith_platform.keys.service import KeyService
from tunesmith_platform.loops import Loops
from tunesmith_platform.middleware import EXPOSED_HEADERS, BelowPath, BodyLimit, Contained, Hosts, Numbered
from tunesmith_platform.models import endpoints as model_endpoints
from tunesmith_platform.models.service import ModelService
from tunesmith_platform.monitoring import endpoints as monitoring_endpoints
from tunesmith_platform.monitoring.following import WorkspaceFeeds
from tunesmith_platform.monitoring.service import MonitoringService
from tunesmith_platform.monitoring.workspace import Workspace
from tunesmith_platform.notifications import endpoints as notification_endpoints
from tunesmith_platform.notifications.service import NotificationService
from tunesmith_platform.openai import endpoints as openai_endpoints
from tunesmith_platform.openai.errors import OpenAIErrors
from tunesmith_platform.packaging import endpoints as packaging_endpoints
from tunesmith_platform.packaging import reported as packages_reported
from tunesmith_platform.packaging.choosing import ChoosingService
from tunesmith_platform.packaging.kept import KeptPackages
from tunesmith_platform.packaging.links import Links
from tunesmith_platform.packaging.service import PackagingService
from tunesmith_platform.pipelines import endpoints as pipeline_endpoints
from tunesmith_platform.pipelines.service import PipelineService
from tunesmith_platform.projects import endpoints as project_endpoints
from tunesmith_platform.projects.service import ProjectService
from tunesmith_platform.quota import endpoints as quota_endpoints
from tunesmith_platform.quota import ledger
from tunesmith_platform.quota.service import QuotaService
from tunesmith_platform.rates import Rate
from tunesmith_platform.routing import serve
from tunesmith_platform.runners import endpoints as runner_endpoints
from tunesmith_platform.runners.dispatch import WarmJobs
from tunesmith_platform.runners.service import RunnerService
from tunesmith_platform.sandbox import shared_workers
from tunesmith_platform.sandbox.pool import MAX_WAITING
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.series import endpoints as series_endpoints
from tunesmith_platform.series.service import SeriesService, folding
from tunesmith_platform.services import Services
from tunesmith_platform.serving import ApiServer
from tunesmith_platform.settings import Settings
from tunesmith_platform.sse import Streams
from tunesmith_platform.system import endpoints as system_endpoints
from tunesmith_platform.system.database_look import DatabaseLook
from tunesmith_platform.system.environment import EnvironmentService
from tunesmith_platform.system.schema_watch import SchemaWatch
from tunesmith_platform.system.service import SystemService
from tunesmith_platform.tasks import endpoints as task_endpoints
from tunesmith_platform.tasks.derive import TaskVerbs
from tunesmith_platform.tasks.kinds.base import Parts
from tunesmith_platform.tasks.kinds.registry import Kinds
from tunesmith_platform.tasks.moves import Moves
from tunesmith_platform.tasks.rows import RowService
from tunesmith_platform.tasks.service import TaskService
from tunesmith_platform.templates import endpoints as template_endpoints
from tunesmith_platform.templates.service import TemplateService
from tunesmith_platform.web_settings import names_of
from tunesmith_ui.pages import Studio

logger = logging.getLogger(__name__)

_DESCRIPTION = """Fine-tune language models on your own Ray cluster.

Every call but `/healthz`, `/livez` and `/readyz` carries `Authorization: Bearer <key>`. Every error has one shape: a
stable `code`, a sentence, whose `fault` it is, whether a retry helps, each problem with its place, and what to do next.
Lists answer `data`, `has_more` and `next`; ask again with `after=<next>`.
"""


def build_services(
    settings: Settings, jobs: Jobs | None = None, tracking: Tracking | None = None
) -> Services:
    """The control plane's parts; the edges may be given (tests, another backend)."""
    shared_workers.shared.configure(
        processes=settings.check_processes, memory_bytes=settings.check_memory_bytes
    )
    database = Database(settings.database_url)
    hub = Hub()
    models = ModelService(database, settings)
    datasets = DatasetService(database, settings)
    jobs = jobs or RayJobs(
        settings.ray_url, settings.ray_token_file, settings.job_python, settings.driver_cpus
    )
    jobs = ClearedJobs(WarmJobs(jobs, database, hub), settings.work_dir)
    compute, keys = ComputeService(jobs, settings.ray_url), Keys(database)
    runners = RunnerService(database, settings.report_secret_file)
    if tracking is None and settings.mlflow_url:
        tracking = MlflowTracking(settings.mlflow_url, settings.mlflow_token_file)
    kinds = Kinds(Parts(database, settings, models, datasets, compute))
    moves = Moves(ledger)
    tasks, templates = TaskService(database, hub, settings, kinds, moves), TemplateService(database)
    # The quota hears last: it asks whether a job has finished, and how many checkpoints it has.
    listeners = Listeners(
        reported.LISTENER,
        lineage.LISTENER,
        evaluations_reported.LISTENER,
        training_scores.LISTENER,
        chats_reported.LISTENER,
        packages_reported.LISTENER,
        proofs.LISTENER,
        ledger.charging(moves),
    )
    events = EventService(database, hub, settings.report_secret_file, folding, listeners)
    series = SeriesService(database, settings)
    checkpoints = CheckpointService(database)
    workspace = Workspace(database, settings, INSTALLATION)
    chats = ChatService(database, settings, tasks)
    asking = Asking(Names(database, settings, models), chats, settings, database)
    estimates = EstimateService(database, settings, jobs, models, datasets, compute=compute)
    packaging = PackagingService(database)
    access = AccessService(database, settings, keys)
    return Services(
        settings=settings,
        database=database,
        hub=hub,
        keys=keys,
        changes=Rate(settings.max_changes_per_minute, "changes by one key", "max_changes_per_minute"),
        wrong_keys=Rate(
            settings.max_wrong_keys_per_minute, "wrong keys from one address", "max_wrong_keys_per_minute"
        ),
        access=access,
        sign_in=SignInService(database, settings, keys, access),
        audit=AuditService(database, settings),
        key_service=KeyService(database, keys),
        projects=ProjectService(database, keys),
        jobs=jobs,
        compute=compute,
        runners=runners,
        tracking=tracking,
        moves=moves,
        tasks=tasks,
        verbs=TaskVerbs(database, hub, settings, tasks, templates),
        templates=templates,
        events=events,
        feeds=Feeds(database, hub),
        streams=Streams(),
        series=series,
        checkpoints=checkpoints,
        asking=asking,
        conversations=ConversationService(database, settings),
        talking=Talking(asking, Writing(database)),
        ratings=RatingService(database, datasets),
        evaluations=EvaluationService(database),
        packaging=packaging,
        choosing=ChoosingService(database, settings, models, packaging),
        kept_packages=KeptPackages(database, settings),
        links=Links(keys, settings.report_secret_file, lambda: settings.link_round),
        forecasts=Forecasts(database, settings, kinds, compute),
        rows=RowService(database),
        quota=QuotaService(database),
        models=models,
        datasets=datasets,
        uploads=UploadService(database, settings, datasets),
        reports=ReportService(settings, models, datasets),
        samples=SampleService(database, settings, datasets),
        kinds=kinds,
        pipelines=PipelineService(
            database, hub, settings, lambda scope, name: datasets.find(scope, name).path, kinds
        ),
        estimates=estimates,
        monitoring=MonitoringService(database, settings, events, series, checkpoints, estimates),
        workspace=workspace,
        following=WorkspaceFeeds(database, settings, hub, workspace),
        notifications=NotificationService(database, settings),
        environment=EnvironmentService(database, settings, jobs, tracking, compute),
        system=SystemService(database, settings, jobs, runners),
    )


def ready_schema(database: Database, settings: Settings) -> None:
    """Bring the database's schema up to date where the settings say so, and refuse one that is not this version's.

    Raises:
        Unavailable: It is older or newer, or does not answer.
    """
    schema.require_place(database, is_made=bool(settings.migrate_at_start))
    if settings.migrate_at_start:
        schema.migrate(database)
    else:
        schema.require(database)
    schema.watch(database)
    if words := connections.shortage(database):
        logger.warning("%s", words)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    settings = services.settings
    ready_schema(services.database, settings)
    services.keys.enroll(settings.api_key_file, name="local")
    services.models.resume()
    loops: Loops = app.state.loops
    # Whoever runs the others: each server looks for itself whether its database is still one of its version.
    watched = {"SchemaWatch": lambda: SchemaWatch(services.system, services.hub)}
    loops.start(watched | (background_loops(services) if settings.run_loops else {}))
    if settings.run_loops:
        shared_workers.shared.get().warm()
    # Whoever waits for a check holds a thread that no other call lacks.
    anyio.to_thread.current_default_thread_limiter().total_tokens += MAX_WAITING
    try:
        yield
    finally:
        await services.talking.close()
        await services.asking.close()
        loops.close()
        services.events.close()
        services.feeds.close()
        services.following.close()
        services.models.close()
        services.estimates.close()
        services.database.close()


def _to_studio(_request: Request) -> RedirectResponse:
    """The way to the studio; relative, so that it holds below any path that a proxy puts before it."""
    return RedirectResponse("studio/")


def _operation_id(route: APIRoute) -> str:
    return route.name


def create_app(
    settings: Settings | None = None, jobs: Jobs | None = None, tracking: Tracking | None = None
) -> FastAPI:
    """The control plane as an ASGI application."""
    settings = settings or Settings()
    app = FastAPI(
        title="Tunesmith",
        version=tunesmith.__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = build_services(settings, jobs, tracking)
    app.state.loops = Loops()
    app.state.database_look = DatabaseLook(app.state.services.database)
    install_errors(app)
    for module in (
        task_endpoints,
        event_endpoints,
        runner_endpoints,
        series_endpoints,
        monitoring_endpoints,
        notification_endpoints,
        checkpoint_endpoints,
        evaluation_endpoints,
        packaging_endpoints,
        chat_endpoints,
        conversation_endpoints,
        template_endpoints,
        model_endpoints,
        dataset_endpoints,
        samples_endpoints,
        quota_endpoints,
        pipeline_endpoints,
        estimate_endpoints,
        system_endpoints,
        access_endpoints,
        sign_in_endpoints,
        key_endpoints,
        audit_endpoints,
        project_endpoints,
    ):
        serve(app, module.router, prefix="/v1")
    serve(app, openai_endpoints.router, prefix="/openai/v1")
    serve(app, system_endpoints.health)
    serve(app, monitoring_endpoints.scrape)
    app.mount("/studio", Studio())
    for entrance in ("/", "/studio"):
        app.router.routes.append(Route(entrance, _to_studio, include_in_schema=False))
    fastapi_swagger.patch_fastapi(app)  # its pages come from this server: no outside request
    app.add_middleware(OpenAnswers, keys=app.state.services.keys)
    app.add_middleware(Callers)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(Contained)
    if settings.allowed_origins:
        # Without credentials: pages elsewhere show a key, and no browser's session counts there.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
    names = names_of(settings.public_url, settings.api_url) | {one.lower() for one in settings.allowed_hosts}
    app.add_middleware(Hosts, names=names)
    app.add_middleware(OpenAIErrors)
    app.add_middleware(Numbered, tells=settings.log_format is logs.LogFormat.JSON)
    app.add_middleware(BelowPath, path=settings.base_path)
    return app


def main() -> None:
    """Serve the API as the settings say."""
    settings = Settings()
    logs.configure(settings.log_format)
    app = create_app(settings)
    try:
        ready_schema(app.state.services.database, settings)
    except TunesmithError as error:
        logger.error("not started: %s %s", error.message, error.hint or "")
        sys.exit(3)
    server = ApiServer(app, settings.host, settings.port)
    gc.enable()
    gc.freeze()  # all that was imported and built stays: no collection need go through it while reports wait
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
