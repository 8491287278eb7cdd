"""`tunesmith webhooks ...`: where to post what happens to tasks, and the log of it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import local_time, plain
from tunesmith.cli.output import out, say, show_json, show_table, table
from tunesmith.language import Language, tr
from tunesmith.notifications import (
    EMAIL,
    SIGNATURE_HEADER,
    DeliveryState,
    DeliveryView,
    NoticeEvent,
)

webhooks = typer.Typer(
    name="webhooks",
    help="Webhooks: what happens to tasks is posted to them. For administrators.",
    no_args_is_help=True,
)

WebhookArgument = Annotated[
    str, typer.Argument(metavar="WEBHOOK", help="The webhook's id.", autocompletion=completion.webhooks)
]
ReceiverArgument = Annotated[
    str,
    typer.Argument(
        metavar="WEBHOOK", help="The webhook's id; `email` for mails.", autocompletion=completion.webhooks
    ),
]


@webhooks.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to post to.")],
    project: Annotated[str | None, typer.Option(help="Only this project's tasks.")] = None,
    event: Annotated[
        list[NoticeEvent] | None,
        typer.Option(help="Only this event; may be given again. Everything if not given."),
    ] = None,
    language: Annotated[Language, typer.Option(help="The language of its texts.")] = Language.EN,
    as_json: JsonFlag = False,
) -> None:
    """Add a webhook, and show the secret that checks its signatures: it is shown here alone."""
    with connect() as client:
        added = client.webhooks.add(url, project=project, events=event, language=language)
    if as_json:
        show_json(added)
        return
    say(f"Webhook `{added.id}` is added. Try it with `tunesmith webhooks test {added.id}`.")
    say(f"Its secret checks the header `{SIGNATURE_HEADER}`; keep it, it is not shown again:")
    out().print(added.secret)


@webhooks.command("list")
def list_webhooks(as_json: JsonFlag = False) -> None:
    """List the webhooks."""
    with connect() as client:
        found = list(client.webhooks.list())
    if as_json:
        show_json(found)
        return
    if not found:
        say("No webhooks. Add one with `tunesmith webhooks add URL`.")
        return
    shown = table("webhook", "project", "events", "url")
    for column in shown.columns[2:]:
        column.no_wrap, column.overflow = False, "fold"
    for item in found:
        events = ", ".join(item.events)
        shown.add_row(item.id, Text(plain(item.project or tr("all"))), events, Text(plain(item.url)))
    show_table(shown)


@webhooks.command()
def remove(webhook: WebhookArgument, as_json: JsonFlag = False) -> None:
    """Remove a webhook with its delivery log."""
    with connect() as client:
        client.webhooks.remove(webhook)
    if as_json:
        show_json({"removed": webhook})
    else:
        say(f"Webhook `{webhook}` is removed.")


@webhooks.command("test")
def try_out(webhook: ReceiverArgument, as_json: JsonFlag = False) -> None:
    """Send a test, and say how it went. Exits with 1 when it did not arrive."""
    with connect() as client:
        found = client.webhooks.test(webhook)
    if as_json:
        show_json(found)
    else:
        say("The test has arrived." if found.state is DeliveryState.DELIVERED else found.message)
        say(f"It went to {found.sent_to}." if found.sent_to else "Nothing was sent.")
    if found.state is not DeliveryState.DELIVERED:
        raise typer.Exit(1)


@webhooks.command()
def deliveries(
    webhook: Annotated[
        str | None,
        typer.Argument(metavar="[WEBHOOK]", help=f"Only this webhook's; `{EMAIL}` for mails."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Entries at the most.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show the delivery log, newest first."""
    with connect() as client:
        page = client.webhooks.deliveries_page(webhook, limit)
    if as_json:
        show_json(page.data)
        return
    if not page.data:
        say("Nothing was sent yet.")
        return
    shown = table("time", "event", "state", "tries", "task", "receiver", "what", numbers=("tries",))
    shown.columns[-1].no_wrap, shown.columns[-1].overflow = False, "fold"
    for item in page.data:
        shown.add_row(
            local_time(item.created_at),
            item.event,
            tr(item.state),
            str(item.tries),
            Text(plain(item.task_id or "")),
            item.receiver,
            Text(plain(_what(item))),
        )
    show_table(shown)
    if page.has_more:
        say(f"There are more; `--limit {min(limit * 2, 500)}` shows them.")


def _what(item: DeliveryView) -> str:
    again = tr(f" Again at {local_time(item.next_at)}.") if item.next_at and item.tries else ""
    return f"{tr(item.message)}{again}"


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(webhooks)
