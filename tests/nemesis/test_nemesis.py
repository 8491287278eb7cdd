"""Two seeds of what `make nemesis` does at length: parts are killed, the database is locked, and no promise breaks."""

import pytest
from nemesis import episodes, plan
from nemesis.checker import Reference
from nemesis.run import UNDISTURBED, undisturbed
from nemesis.world import World

from tunesmith.home import Home

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def world(live_home: Home, shell_environment: dict[str, str]) -> World:
    """The platform of the other tests that hurt one: a start takes as long as a seed."""
    root = live_home.root.parent / "nemesis"
    root.mkdir()
    world = World(root, home=live_home, shell=shell_environment)
    world.prepare()
    return world


@pytest.fixture(scope="module")
def reference(world: World) -> Reference:
    return undisturbed(world)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_promise_breaks(world: World, reference: Reference, seed: int) -> None:
    try:
        result, seen = episodes.run(world, plan.episode(seed), reference)
    finally:
        episodes.stop_all(world)
    assert result.broken + episodes.clear(world, seen.task.id, seed) == []
    assert len(result.hit) == plan.CELLS_A_SEED, result.missed


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
