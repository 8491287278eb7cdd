"""What a job is busy with, in words."""

import pytest

from tunesmith.activity import ACTIVITIES, Activity, ActivityKind, Unit


@pytest.mark.parametrize(
    ("done", "total", "unit", "english", "chinese"),
    [
        (1_200_000_000, 3_400_000_000, Unit.BYTES, "Saving: 1.2 of 3.4 GB", "正在保存：1.2 / 3.4 GB"),
        (300_000, 3_400_000_000, Unit.BYTES, "Saving: 0.0 of 3.4 GB", "正在保存：0.0 / 3.4 GB"),
        (12, None, Unit.BYTES, "Saving: 12 B", "正在保存：12 B"),
        (0, 0, Unit.BYTES, "Saving: 0 of 0 B", "正在保存：0 / 0 B"),
        (12, 40, Unit.BATCHES, "Saving: 12 of 40 batches", "正在保存：12 / 40 批"),
        (12, None, Unit.TENSORS, "Saving: 12 tensors", "正在保存：12 个张量"),
    ],
)
def test_it_reads_in_both_languages(
    done: int, total: int | None, unit: Unit, english: str, chinese: str
) -> None:
    activity = Activity(kind=ActivityKind.SAVING, done=done, total=total, unit=unit)
    assert (activity.text_en, activity.text_zh) == (english, chinese)


@pytest.mark.parametrize("kind", ActivityKind)
@pytest.mark.parametrize("unit", Unit)
def test_every_kind_and_unit_has_words(kind: ActivityKind, unit: Unit) -> None:
    facts = ACTIVITIES[kind]
    activity = Activity(kind=kind, done=2_000_000, total=3_000_000, unit=unit)
    assert activity.text_en.startswith(f"{facts.words_en}: 2")
    assert activity.text_zh.startswith(f"{facts.words_zh}：2")
    assert unit is Unit.BYTES or str(unit) not in activity.text_zh
