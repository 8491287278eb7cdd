"""The tables. Names and columns only: what may change when is said by the services and the reconciler.

One module a noun; all of them are imported here, so that every table is known to migrations and relations.
"""

from tunesmith_platform.db.tables.access import ApiKeyRow, AuditRow, BrowserRow, ProjectRow
from tunesmith_platform.db.tables.base import Base, Big, Json, UtcDateTime
from tunesmith_platform.db.tables.chats import ChatFileRow, ChatRow, ProofRow
from tunesmith_platform.db.tables.conversations import AnswerRow, ConversationRow, TurnRow
from tunesmith_platform.db.tables.datasets import DatasetRow, DatasetVersionRow, UploadRow
from tunesmith_platform.db.tables.estimates import MeasurementRow
from tunesmith_platform.db.tables.evaluations import (
    CheckpointScoreRow,
    CheckpointUseRow,
    EvaluatedRow,
    EvaluationRow,
)
from tunesmith_platform.db.tables.events import ChunkRow, EventRow
from tunesmith_platform.db.tables.models import ModelRow
from tunesmith_platform.db.tables.notifications import DeliveryRow, NoticeCursorRow, WebhookRow
from tunesmith_platform.db.tables.packages import PackageRow
from tunesmith_platform.db.tables.pipelines import PipelineRow, PipelineStepRow
from tunesmith_platform.db.tables.quota import QuotaEntryRow, QuotaProjectRow
from tunesmith_platform.db.tables.system import LeaseRow, RestoreRow, RunnerRow, ServerUseRow
from tunesmith_platform.db.tables.tasks import AttemptRow, CheckpointRow, IdempotencyRow, MirrorRow, TaskRow
from tunesmith_platform.db.tables.templates import TemplateRow

__all__ = [
    "AnswerRow",
    "ApiKeyRow",
    "AttemptRow",
    "AuditRow",
    "Base",
    "Big",
    "BrowserRow",
    "ChatFileRow",
    "ChatRow",
    "CheckpointRow",
    "CheckpointScoreRow",
    "CheckpointUseRow",
    "ChunkRow",
    "ConversationRow",
    "DatasetRow",
    "DatasetVersionRow",
    "DeliveryRow",
    "EvaluatedRow",
    "EvaluationRow",
    "EventRow",
    "IdempotencyRow",
    "Json",
    "LeaseRow",
    "MeasurementRow",
    "MirrorRow",
    "ModelRow",
    "NoticeCursorRow",
    "PackageRow",
    "PipelineRow",
    "PipelineStepRow",
    "ProjectRow",
    "ProofRow",
    "QuotaEntryRow",
    "QuotaProjectRow",
    "RestoreRow",
    "RunnerRow",
    "ServerUseRow",
    "TaskRow",
    "TemplateRow",
    "TurnRow",
    "UploadRow",
    "UtcDateTime",
    "WebhookRow",
]
