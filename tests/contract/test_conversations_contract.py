"""Conversations on each database, by two servers: what one writes down the other shows, finds, rates and deletes."""

import datetime as dt
from typing import Any

from conftest_platform import LOCAL, Plane

from tunesmith.chat.conversations import NewConversation, NewTurn, Rating
from tunesmith_platform.conversations import repository
from tunesmith_platform.conversations.making import Wanted
from tunesmith_platform.conversations.writing import Said, Writing


def test_what_one_server_writes_the_other_shows(replicas: tuple[Plane, Plane]) -> None:
    one, other = (plane.services.conversations for plane in replicas)
    writing = [Writing(plane.services.database) for plane in replicas]
    made, _ = one.create(LOCAL, NewConversation(model="m", settings={"seed": 2**32 - 1}))
    turn = writing[0].begin(LOCAL, made.id, NewTurn(content="Wie heißt 100%_?"), [Wanted("m", "w")], "k").turn
    writing[0].note(LOCAL, made.id, turn, {0: Said("Hal", "", "answering", "", {})})
    assert other.get(LOCAL, made.id).said[0].answers[0].text == "Hal"
    numbers: dict[str, Any] = {"finish_reason": "stop", "completion_tokens": 2}
    writing[1].note(LOCAL, made.id, turn, {0: Said("Hallo\x00\ud800", "Hm", "whole", "", numbers)})
    writing[0].note(LOCAL, made.id, turn, {0: Said("late", "", "cut", "", {})})  # it is over already
    (answer,) = one.get(LOCAL, made.id).said[0].answers
    assert (answer.text, answer.reasoning_content, answer.state) == ("Hallo\ufffd?", "Hm", "whole")
    other.rate(LOCAL, made.id, turn, 0, Rating(corrected="Guten Tag"))
    (rated,) = replicas[0].services.ratings.page(LOCAL, None, 10).data
    assert (rated.corrected, rated.question) == ("Guten Tag", "Wie heißt 100%_?")
    assert len(replicas[1].services.ratings.rows(LOCAL, "pairs").rows) == 1

    def titles(words: str) -> list[str]:
        return [view.title for view in other.page(LOCAL, None, 10, words).data]

    assert titles("HEISST") == []
    assert titles("WIE 100%_") == ["Wie heißt 100%_?"]
    assert titles("100_%") == []


def test_pages_end_where_the_next_begin_and_what_is_old_goes(replicas: tuple[Plane, Plane]) -> None:
    one, other = replicas
    made = [
        one.services.conversations.create(LOCAL, NewConversation(title=f"t{number}"))[0].id
        for number in range(5)
    ]
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(days=89)
    with one.services.database.write() as session:
        for number in made[:3]:  # at one moment: ids tell them apart
            repository.require(session, LOCAL, number).updated_at = moment
    seen, after = [], None
    while True:
        page = other.services.conversations.page(LOCAL, after, 2)
        seen += [view.id for view in page.data]
        after = page.next
        if not page.has_more:
            break
    assert seen == [*made[:2:-1], *made[2::-1]]
    expiring = other.services.conversations.page(LOCAL, None, 10, expiring_days=2).data
    assert [view.id for view in expiring] == made[2::-1]
    assert other.services.conversations.sweep() == 0
    for plane in replicas:
        plane.settings.conversation_retention_days = 80
    assert other.services.conversations.sweep() == 3
    assert one.services.conversations.sweep() == 0
    assert [view.id for view in one.services.conversations.page(LOCAL, None, 10).data] == made[:2:-1]


def test_a_turn_that_is_taken_out_gives_its_number_to_no_other(replicas: tuple[Plane, Plane]) -> None:
    one, other = (Writing(plane.services.database) for plane in replicas)
    conversations = replicas[0].services.conversations
    made, _ = conversations.create(LOCAL, NewConversation())
    first = one.begin(LOCAL, made.id, NewTurn(content="?"), [Wanted("m", "w")], "k")
    one.note(LOCAL, made.id, first.turn, {0: Said("", "", "cut", "refused", {})})
    assert conversations.get(LOCAL, made.id, every=True).said == []
    second = other.begin(LOCAL, made.id, NewTurn(content="?"), [Wanted("m", "w")], "k")
    assert (first.turn, second.turn, second.is_new) == (1, 2, True)
    one.note(LOCAL, made.id, first.turn, {0: Said("late", "", "answering", "", {})})
    assert [turn.answers[0].text for turn in conversations.get(LOCAL, made.id, every=True).said] == [""]
