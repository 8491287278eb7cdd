"""The least that a durable POST costs with this stack: FastAPI, one SQLAlchemy session, one row in SQLite.

`python tests/bench/bare_post.py DATABASE PORT` serves it; `api.py` holds the control plane against it.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """Of the one table."""


class NoteRow(Base):
    """One row."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Note(BaseModel):
    """What is sent and answered."""

    id: int | None = None
    text: str


def make_app(database: str) -> FastAPI:
    """The app, on a database with the settings of ours."""
    engine = create_engine(f"sqlite:///{database}", pool_size=16)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    Base.metadata.create_all(engine)
    app = FastAPI()

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.post("/notes", status_code=201)
    def create(note: Note) -> Note:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            row = NoteRow(text=note.text)
            session.add(row)
        return Note(id=row.id, text=row.text)

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False
    )
