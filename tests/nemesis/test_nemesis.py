"""An episode of what `make nemesis` does at length: parts are killed, the database is locked, no promise breaks."""

import pytest
from nemesis import episodes, plan
from nemesis.checker import Reference
from nemesis.run import UNDISTURBED
from nemesis.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_no_promise_breaks(hurt_world: World, left_alone: Reference) -> None:
    """Four kinds of harm to one task; the first seeds of `make nemesis` do as much to two.

    What one task was through with before anybody saw it, on a busy machine, is met in another.
    """
    left = list(plan.DAILY)
    for seed in range(2):
        (episode,) = plan.packed(left, first=seed)
        try:
            result, seen = episodes.run(hurt_world, episode, left_alone)
        finally:
            episodes.stop_all(hurt_world)
        assert result.broken + episodes.clear(hurt_world, seen.task.id, episode.seed) == []
        left = [cell for cell in left if cell not in result.hit]
        if not left:
            return
    pytest.fail(f"not seen in two tasks: {result.missed}")


def test_packed_episodes_reach_what_they_were_given_once_and_leave_restarts_over() -> None:
    left = plan.every_cell()[5:]
    episodes = plan.packed(left, first=100)
    assert sorted(cell for episode in episodes for cell in episode.cells) == sorted(left)
    assert [episode.seed for episode in episodes] == list(range(100, 100 + len(episodes)))
    for episode in episodes:
        assert len({cell.phase for cell in episode.cells}) == len(episode.cells)
        assert sum(map(plan.ends_attempt, episode.cells)) <= 3


def test_the_undisturbed_task_is_not_stopped_either() -> None:
    assert not UNDISTURBED.cells
    assert not UNDISTURBED.is_stopped


def test_sixty_seeds_reach_every_cell() -> None:
    dealt = {cell for seed in range(60) for cell in plan.episode(seed).cells}
    assert dealt == set(plan.every_cell())
