"""How far a packaging says that it is, and how long is left."""

import pytest

from tunesmith_jobs.package.course import Course, forecast


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_what_is_left_counts_the_proofs_and_half_of_the_way_is_theirs() -> None:
    clock, told = Clock(), list[tuple[int, int, float | None]]()
    course = Course(lambda *said: told.append(said), 100, 3, 60.0, clock)
    course.wrote(0)
    clock.seconds = 10.0
    course.wrote(50)
    clock.seconds = 20.0
    course.wrote(100)
    course.prove()
    clock.seconds = 30.0
    course.look()
    clock.seconds = 50.0
    course.proved()
    clock.seconds = 60.0
    course.look()
    clock.seconds = 80.0
    course.proved()
    clock.seconds = 130.0
    course.look()
    course.proved()
    assert told == [
        (0, 1000, None),
        (250, 1000, 70.0),
        (500, 1000, 60.0),
        (500, 1000, 60.0),
        (500, 1000, 50.0),
        (666, 1000, 60.0),
        (666, 1000, 50.0),
        (833, 1000, 30.0),
        (833, 1000, None),
        (1000, 1000, 0.0),
    ]


def test_a_proof_that_takes_longer_than_was_thought_says_no_time() -> None:
    clock, told = Clock(), list[float | None]()
    course = Course(lambda done, total, left: told.append(left), 100, 1, 60.0, clock)
    course.prove()
    clock.seconds = 61.0
    course.look()
    assert told == [60.0, None]


@pytest.mark.parametrize(("files", "least", "most"), [(0, 0, 0), (1, 10, 60), (4, 20, 180)])
def test_the_forecast_of_a_small_model_is_of_its_size(files: int, least: float, most: float) -> None:
    assert least <= forecast(135_000_000, files) <= most
