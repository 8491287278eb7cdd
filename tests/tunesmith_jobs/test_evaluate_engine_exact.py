"""In fp32 nothing of a sample's result depends on what is evaluated beside it, for any architecture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_cases import document, prompts
from small_models import model_of
from transformers import AutoModelForCausalLM

from tunesmith_jobs.evaluate.engine import Engine, Sampling, attention, scheduling, tiles
from tunesmith_jobs.evaluate.engine.sampling import Draw
from tunesmith_jobs.models.precision import cpu_bf16_flags

pytestmark = pytest.mark.usefixtures("one_thread")

TILED = ("llama", "qwen2", "gpt2", "opt")
STATEFUL = "mamba2"
GREEDY = Sampling(max_new_tokens=7)
DRAWN = Sampling(
    max_new_tokens=7,
    temperature=0.9,
    top_k=40,
    top_p=0.95,
    min_p=0.01,
    repetition_penalty=1.2,
    presence_penalty=0.4,
)
_engines: dict[str, Engine] = {}


@pytest.fixture
def engine_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def made(kind: str) -> Engine:
        if kind not in _engines:
            folder = tmp_path_factory.mktemp(kind)
            _engines[kind] = Engine.of(document(model_of(kind, folder / "model")), folder)
        return _engines[kind]

    return made


def test_the_fast_way_is_taken_where_it_gives_the_models_own_numbers(engine_of: Any) -> None:
    assert {kind: engine_of(kind).is_tiled for kind in TILED} == dict.fromkeys(TILED, True)
    assert not engine_of(STATEFUL).is_tiled


@pytest.mark.parametrize("kind", [*TILED, STATEFUL])
def test_an_answer_does_not_depend_on_its_neighbours(engine_of: Any, kind: str) -> None:
    """Alone, among few, among many; drawn too, where the draws are each answer's own."""
    engine, count = engine_of(kind), 12 if kind in TILED else 4
    asked = prompts(count, high=80)
    for how in (GREEDY, DRAWN):
        seeds = list(range(100, 100 + count))
        whole = engine.answer(asked, replace(how, seeds=seeds, batch_size=64))
        few = engine.answer(asked, replace(how, seeds=seeds, batch_size=3))
        some = engine.answer(asked[1::2], replace(how, seeds=seeds[1::2], batch_size=5))
        alone = engine.answer(asked[3:4], replace(how, seeds=seeds[3:4]))
        assert few == whole
        assert some == whole[1::2]
        assert alone == [whole[3]]
        assert len({tuple(one.tokens) for one in whole}) > 1


@pytest.mark.parametrize("kind", [*TILED, STATEFUL])
def test_a_likelihood_is_plain_transformers_and_depends_on_no_neighbour(engine_of: Any, kind: str) -> None:
    engine, count = engine_of(kind), 10 if kind in TILED else 3
    pairs = [
        (prompt, answer)
        for prompt, answer in zip(
            prompts(count, high=70), prompts(count, low=1, high=60, seed=2), strict=True
        )
    ]
    found = engine.likelihoods(pairs, 64)
    assert engine.likelihoods(pairs, 2) == found
    assert engine.likelihoods(pairs[1:2], 1) == [found[1]]
    assert engine.likelihoods(list(reversed(pairs)), 4) == list(reversed(found))
    for (first, second), one in zip(pairs[:3], found[:3], strict=True):
        ids = torch.tensor([[*first, *second]])
        with torch.no_grad():
            logits = engine.used.model(input_ids=ids, use_cache=False).logits[0, len(first) - 1 : -1]
        wanted = -logits.double().log_softmax(-1).gather(1, torch.tensor(second)[:, None]).sum()
        assert one == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("how", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_draft_changes_no_answer(engine_of: Any, how: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right ones, wrong ones, some that are right in part, too long, and empty; and right ones save passes."""
    engine = engine_of("llama")
    asked = prompts(5, high=60)
    how = replace(how, max_new_tokens=12, seeds=range(5))
    plain = engine.answer(asked, how)
    right = [one.tokens for one in plain]
    passes = 0
    compute = tiles.Tiles.compute

    def counted(*given: Any) -> Any:
        nonlocal passes
        passes += 1
        return compute(*given)

    monkeypatch.setattr(tiles.Tiles, "compute", counted)
    assert engine.answer(asked, how) == plain
    without, passes = passes, 0
    assert engine.answer(asked, how, right) == plain
    assert 0 < passes < without
    in_part = [[*one[:4], 17, *one[5:]] for one in right]
    shifted = [one[2:] for one in right]
    for drafts in (
        in_part,
        shifted,
        [[9] * 30] * 5,
        [[*one, 5, 6, 7] for one in right],
        [None, [], *right[2:]],
    ):
        assert engine.answer(asked, how, drafts) == plain


def test_larger_tiles_are_taken_where_drafts_hold_and_where_they_break_none_are(
    engine_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked = engine_of("llama"), prompts(6, high=40)
    how = replace(GREEDY, max_new_tokens=40)
    sizes: list[int] = []
    compute = tiles.Tiles.compute

    def counted(self: Any, segments: Any, *more: Any) -> Any:
        sizes.append(self.size_for(sum(len(segment.tokens) for segment in segments)))
        return compute(self, segments, *more)

    def computed(drafts: Any) -> list[int]:
        sizes.clear()
        assert engine.answer(asked, how, drafts) == plain
        return list(sizes)

    monkeypatch.setattr(tiles.Tiles, "compute", counted)
    plain = engine.answer(asked, how)
    right = [one.tokens for one in plain]
    assert all(len(one) == 40 for one in right)
    without, held = computed(None), computed(right)
    assert len(held) <= len(without) / 5, "several tokens of each answer a pass"
    broken = computed([[token if place % 2 else 3 for place, token in enumerate(one)] for one in right])
    assert sum(broken) <= 1.1 * sum(without)


def test_little_room_for_keys_changes_no_result(engine_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are freed and taken anew, with what others left in them."""
    engine, asked = engine_of("qwen2"), prompts(9, high=90)
    whole = engine.answer(asked, GREEDY)
    monkeypatch.setattr(scheduling, "_POOL_BYTES", 1)
    assert engine.answer(asked, GREEDY) == whole


def test_a_beginning_that_is_shared_is_computed_once(engine_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of("llama")
    head, *asked = prompts(9, low=20, high=30)
    head = head * 5
    asked = [[*head, *one] for one in asked]
    computed = 0
    plain = tiles.Tiles.compute

    def counted(self: Any, segments: Any, *more: Any) -> Any:
        nonlocal computed
        computed += sum(len(segment.tokens) for segment in segments)
        return plain(self, segments, *more)

    monkeypatch.setattr(tiles.Tiles, "compute", counted)
    whole = engine.answer(asked, GREEDY)
    assert computed < 8 * len(head) / 2
    assert [engine.answer([one], GREEDY)[0] for one in asked] == whole


@pytest.mark.skipif(not cpu_bf16_flags(), reason="this processor has no bf16 instructions")
def test_in_bf16_a_draft_is_heeded_only_where_it_can_change_nothing(tmp_path: Path) -> None:
    engine = Engine.of(document(model_of("llama", tmp_path / "base"), precision="bf16"), tmp_path)
    assert engine.is_tiled
    asked = prompts(5, high=60)
    plain = engine.answer(asked, GREEDY)
    assert engine.answer(asked, GREEDY, [one.tokens for one in plain]) == plain
    if engine.is_exact:
        assert [engine.answer([one], GREEDY)[0] for one in asked] == plain


def test_a_model_that_is_used_in_bf16_keeps_its_frequencies(tmp_path: Path) -> None:
    """Held in 16 bits they turned position 2000 by a third of a circle too far."""
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.models import loading
    from tunesmith_jobs.models.precision import Choice

    one = document(model_of("llama", tmp_path / "base"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "choose", lambda spec: Choice("cpu", "bf16", "asked for"))
        used = loading.load(one, TrainSpec.stored(one.training), tmp_path, is_measured=False)
    assert {weight.dtype for weight in used.model.parameters()} == {torch.bfloat16}
    assert used.model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_how_far_a_layer_looks_back_is_kept(tmp_path: Path) -> None:
    """A model with a window that is shorter than a prompt."""
    base = model_of("llama", tmp_path / "base")
    from small_models import BLOCK
    from transformers import MistralConfig, MistralForCausalLM

    words = AutoModelForCausalLM.from_pretrained(base).config.vocab_size
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(vocab_size=words, sliding_window=9, eos_token_id=2, **BLOCK))
    model.save_pretrained(base)
    engine = Engine.of(document(base), tmp_path)
    assert engine.is_tiled
    asked = prompts(4, low=30, high=80)
    pairs = [(one[:20], one[20:]) for one in asked]
    found = engine.likelihoods(pairs, 4)
    for (first, second), one in zip(pairs, found, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*first, *second]])).logits[0, len(first) - 1 : -1]
        wanted = -logits.double().log_softmax(-1).gather(1, torch.tensor(second)[:, None]).sum()
        assert one == pytest.approx(float(wanted), rel=1e-4)


def test_what_breaks_off_leaves_the_model_as_it_was(engine_of: Any) -> None:
    """Among answers that are half made: the next shard is asked of the same engine."""
    how = replace(DRAWN, seeds=range(3))
    for kind in ("llama", STATEFUL):
        engine, asked = engine_of(kind), prompts(3)
        before = engine.answer(asked, how)
        draw, calls = Draw.next, 0

        def broken(*given: Any, draw: Any = draw) -> int:
            nonlocal calls
            calls += 1
            if calls == 4:
                raise MemoryError
            found: int = draw(*given)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Draw, "next", broken)
            with pytest.raises(MemoryError):
                engine.answer(asked, how)
        assert engine.used.model.config._attn_implementation != attention.NAME
        assert engine.answer(asked, how) == before
