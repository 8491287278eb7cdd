"""Whether what answers is the model: heard of when weights are loaded, looked at by a task, asked by whoever answers.

Each function runs in its caller's transaction. Knows rows and events; submits nothing.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from tunesmith.chat.proof import ENGINE, ProofState, ProofView, proof_key
from tunesmith.events import JobEvent, ModelProven, PackageMade, Serving
from tunesmith.packaged import PackagedFile
from tunesmith_platform.chats import repository
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, ChatFileRow, ProofRow, TaskRow
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.scope import Scope

_STATES = {
    "proven": ProofState.PROVEN,
    "not_proven": ProofState.UNPROVEN,
    "failed": ProofState.FAILED,
}
_SAME_ENGINE = {
    "en": "The library that trained it answers: there is nothing to hold it against.",
    "zh": "由训练所用的库本身回答，无需对照证明。",
}


def hear(
    session: Session, scope: Scope, task: TaskRow, attempt: AttemptRow, events: Sequence[JobEvent]
) -> None:
    """Note what was loaded, what a proof found, and what a package's proofs say of the same weights."""
    owner = Scope.acting_for(task)
    for event in events:
        match event.payload:
            case Serving(state="loaded", weights=str(weights)) as said if weights:
                _loaded(session, owner, said)
            case ModelProven() as found:
                row = repository.proof_of_task(session, owner, task.id)
                if row is not None:
                    _take(row, found)
            case PackageMade() as made:
                for file in made.files:
                    _packaged(session, owner, task, made.version, file)
                    _offered(session, owner, task, made.uri, file)


LISTENER = Listener((Serving, ModelProven, PackageMade), hear)


def _loaded(session: Session, scope: Scope, said: Serving) -> None:
    row = _row(scope, said.weights, (said.engine, said.version, said.file_type), said.model or "")
    if said.engine != ENGINE:
        row.state, row.found = ProofState.SAME_ENGINE, {"words": _SAME_ENGINE}
    found = repository.want_proof(session, scope, row)
    if found.state in (ProofState.PENDING, ProofState.UNPROVEN) and found.model != row.model:
        found.model = row.model  # by which the task finds them


def _take(row: ProofRow, found: ModelProven) -> None:
    row.state, row.changed_at = found.state, now()
    row.found = found.model_dump(mode="json", include={"words", "kl_mean", "kl_p99", "top1", "tokens"})


def again(row: ProofRow, model: str) -> None:
    """Have it looked at anew; what is withdrawn stays so meanwhile.

    Args:
        row: What is known.
        model: What the weights are called now.
    """
    is_withdrawn = row.state == ProofState.FAILED or row.found.get("is_withdrawn", False)
    row.state, row.task_id, row.tries, row.model = ProofState.PENDING, None, 0, model[:300]
    row.found = row.found | {"is_withdrawn": is_withdrawn}
    row.created_at = row.changed_at = now()


def _packaged(session: Session, scope: Scope, task: TaskRow, version: str, file: PackagedFile) -> None:
    """A package's proof counts for whoever answers with the same: its file, or the same weights in its form."""
    told = [(file.content, file.type)] if file.weights else []
    told += [(file.served_like, "F16")] if file.served_like and file.verdict == "proven" else []
    if not version:
        return
    for weights, file_type in told:
        row = repository.want_proof(
            session, scope, _row(scope, weights, (ENGINE, version, file_type), file.name)
        )
        if row.state in (ProofState.PENDING, ProofState.UNPROVEN):
            row.state, row.task_id, row.changed_at = _STATES[file.verdict], task.id, now()
            row.found = {
                "words": file.sentence,
                "kl_mean": file.kl_mean,
                "kl_p99": file.kl_p99,
                "top1": file.top1,
            }


def _offered(session: Session, scope: Scope, task: TaskRow, folder: str, file: PackagedFile) -> None:
    """A packaged file can be talked to, unless it is not the model."""
    if not file.weights or file.verdict == "failed":
        return
    row = ChatFileRow(
        **scope.stamp(),
        weights=file.weights,
        file_type=file.type,
        source=file.source,
        uri=f"{folder.rstrip('/')}/{file.name}",
        sha256=file.content,
        bytes=file.bytes,
        parts=[part.model_dump() for part in file.parts],
        package_id=task.id,
        created_at=now(),
    )
    repository.put_file(session, scope, row)


def _row(scope: Scope, weights: str, how: tuple[str, str, str], model: str) -> ProofRow:
    engine, version, file_type = how
    moment = now()
    return ProofRow(
        **scope.stamp(),
        key=proof_key(weights, *how),
        weights=weights,
        engine=engine,
        version=version,
        file_type=file_type,
        model=model[:300],
        state=ProofState.PENDING,
        found={},
        tries=0,
        task_id=None,
        created_at=moment,
        changed_at=moment,
    )


def view(row: ProofRow | None) -> ProofView:
    """What is shown of it; what was never loaded is looked at once it is."""
    if row is None:
        return ProofView()
    found: dict[str, Any] = {name: row.found.get(name) for name in ("kl_mean", "top1", "tokens")}
    return ProofView(
        state=ProofState(row.state),
        engine=f"{row.engine} {row.version}".strip(),
        file_type=row.file_type,
        words=row.found.get("words") or {},
        task_id=row.task_id,
        is_withdrawn=row.state == ProofState.FAILED or row.found.get("is_withdrawn", False),
        **found,
    )
