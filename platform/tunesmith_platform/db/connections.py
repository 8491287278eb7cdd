"""Whether PostgreSQL has a connection for every one that the processes on it may open.

Each process opens as many as its pool holds, under load all of them; who comes when the server has no more is refused
in the middle of a call. Which processes there are the server itself knows: each says its name when it connects.
"""

from sqlalchemy import text

from tunesmith_platform.db.engine import CONNECTIONS, NAME, Database

_ASKED = text(
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - coalesce(current_setting('reserved_connections', true), '0')::int AS places,"
    " count(*) FILTER (WHERE backend_type = 'client backend' AND application_name NOT LIKE :ours) AS others,"
    " count(DISTINCT application_name) FILTER (WHERE application_name LIKE :ours) AS processes"
    " FROM pg_stat_activity"
)


def shortage(database: Database) -> str:
    """What is to be said where the processes on a database may open more connections than it takes; else nothing."""
    if database.is_sqlite:
        return ""
    with database.read() as whole:
        places, others, processes = whole.execute(_ASKED, {"ours": f"{NAME} %"}).one()
    wanted = max(1, processes) * CONNECTIONS
    if wanted + others <= places:
        return ""
    return (
        f"PostgreSQL takes {places} connections; {max(1, processes)} processes of Tunesmith may open {CONNECTIONS} "
        f"each, {wanted}, and others hold {others}: raise `max_connections` to {wanted + others + 10}, or run fewer "
        "servers."
    )
