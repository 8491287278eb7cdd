"""Candidates over one base: what is swapped in is what a load of its own gives, to the last bit."""

import gc
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_cases import FORMS, base_with_bias, document, make_adapter, prompts
from small_models import model_of
from transformers import AutoModelForCausalLM, GenerationConfig

from tunesmith.errors import InvalidModel
from tunesmith.model_step import ModelDocument
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.evaluate.engine import Engine, Made, Sampling, asleep
from tunesmith_jobs.evaluate.engine import candidates as engine_candidates
from tunesmith_jobs.evaluate.engine import core as engine_core
from tunesmith_jobs.evaluate.engine.trial import shapes_of
from tunesmith_jobs.models.build import load
from tunesmith_jobs.models.loading import UsedModel
from tunesmith_jobs.models.precision import choose

pytestmark = pytest.mark.usefixtures("one_thread")

ASKED = prompts(3, high=40)
GREEDY = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_with_bias(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def candidates(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelDocument]:
    """Adapters of all forms, the base, and a whole model of its own."""
    folder = tmp_path_factory.mktemp("candidates")
    found = {
        name: document(base, make_adapter(base, folder / name, seed=seed, **config))
        for seed, (name, config) in enumerate(FORMS.items())
    }
    torch.manual_seed(9)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder / "full")
    return found | {"base": document(base), "full": document(base, whole=folder / "full")}


def found_by(engine: Engine) -> tuple[list[Made], list[float]]:
    pairs = [(prompt[:4], prompt[4:]) for prompt in ASKED[:2]]
    return engine.answer(ASKED[:2], replace(GREEDY, max_new_tokens=4)), engine.likelihoods(pairs, 4)


def test_a_candidate_that_is_swapped_in_is_what_a_load_of_its_own_gives(
    candidates: dict[str, ModelDocument], tmp_path: Path
) -> None:
    """Each form after another, and the base after those that train what is the base's own."""
    fresh = {name: found_by(Engine.of(one, tmp_path)) for name, one in candidates.items()}
    assert len({str(one) for one in fresh.values()}) == len(fresh), "each candidate is another model"
    engine = Engine.of(candidates["base"], tmp_path)
    for name in (*candidates, *["bias", "base", "head", "base", "embedding", "base"]):
        engine.use(candidates[name])
        assert found_by(engine) == fresh[name], name


def test_adapters_share_one_load_of_their_base(candidates: dict[str, ModelDocument], tmp_path: Path) -> None:
    engine = Engine.of(candidates["lora"], tmp_path)
    for name in (*FORMS, "base"):
        engine.use(candidates[name])
    assert engine.loads == 1
    engine.use(candidates["full"])
    assert engine.loads == 2


def test_models_that_are_built_alike_share_one_trial(
    base: Path, candidates: dict[str, ModelDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which shapes keep to the bits depends on modules and the processor, not on weights."""
    tried: list[UsedModel] = []

    def counted(used: UsedModel) -> Any:
        tried.append(used)
        return shapes_of(used)

    monkeypatch.setattr(engine_core, "shapes_of", counted)
    engine = Engine(tmp_path)
    for name in ("base", "full", "lora", "base"):
        engine.use(candidates[name])
        assert engine.is_tiled
    assert len(tried) == 1
    engine.use(document(model_of("llama", tmp_path / "other")))
    assert len(tried) == 2


def test_checkpoints_of_two_runs_that_have_one_name_are_two_models(
    base: Path, candidates: dict[str, ModelDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage elsewhere copies each to a folder of its last name, the second in the first's place."""
    places = {
        "s3://bucket/one/checkpoint-30": base,
        "s3://bucket/two/checkpoint-30": candidates["full"].model_uri,
    }

    def fetched(uri: str, scratch: Path) -> Path:
        folder = scratch / uri.rpartition("/")[2]
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(places[uri], folder))

    wanted = [found_by(Engine.of(candidates[name], tmp_path)) for name in ("base", "full")]
    monkeypatch.setattr(engine_candidates, "fetch_model", fetched)
    engine, found = Engine(tmp_path), []
    for uri in places:
        engine.use(candidates["base"].model_copy(update={"model_uri": uri}))
        found.append(found_by(engine))
    assert found == wanted


def test_a_candidate_computes_what_the_trainer_computes(
    candidates: dict[str, ModelDocument], tmp_path: Path
) -> None:
    """The adapter is added to the weights: against the trainer's own model, which keeps it apart."""
    engine = Engine.of(candidates["base"], tmp_path)
    ids = torch.tensor([ASKED[0]])
    for name, one in candidates.items():
        spec = TrainSpec.stored(one.training)
        plain = load(Path(spec.model_name_or_path), spec, choose(spec)).eval()
        engine.use(one)
        with torch.no_grad():
            wanted = plain(input_ids=ids).logits
            made = engine.used.model(input_ids=ids).logits
        torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4, msg=name)


def in_16_bits(folder: Path) -> Path:
    """A base whose files hold half the bytes of what is computed."""
    AutoModelForCausalLM.from_pretrained(base_with_bias(folder), dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def bytes_of_base(engine: Engine) -> int:
    return sum(one.nbytes for one in engine._candidates._base.parameters())


@pytest.mark.parametrize("are_read_again", [True, False], ids=["files", "memory"])
def test_weights_that_a_candidate_has_others_of_take_little_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, are_read_again: bool
) -> None:
    """Nothing where the base's files hold them, half where not; they come back bit for bit, without another load."""
    folder = in_16_bits(tmp_path / "base")
    adapter = document(folder, make_adapter(folder, tmp_path / "adapter", target_modules="all-linear"))
    if not are_read_again:
        monkeypatch.setattr(asleep, "_files_of", lambda _folder: {})
    engine = Engine.of(document(folder), tmp_path)
    plain, whole = found_by(engine), bytes_of_base(engine)
    engine.use(adapter)
    tuned = found_by(engine)
    model = engine.used.model
    layers = [one for one in model.modules() if isinstance(one, torch.nn.Linear)]
    linear = sum(one.nbytes for layer in layers for one in layer.parameters())
    linear -= model.get_output_embeddings().weight.nbytes
    assert bytes_of_base(engine) == whole - (linear if are_read_again else linear // 2)
    engine.use(document(folder))
    assert found_by(engine) == plain
    engine.use(adapter)
    assert found_by(engine) == tuned
    assert engine.loads == 1


@pytest.mark.parametrize("change", ["other", "cut", "gone"])
def test_a_base_whose_files_change_while_its_weights_wait_is_loaded_afresh(
    tmp_path: Path, change: str
) -> None:
    folder = in_16_bits(tmp_path / "base")
    adapter = document(folder, make_adapter(folder, tmp_path / "adapter", target_modules="all-linear"))
    engine = Engine.of(adapter, tmp_path)
    file = folder / "model.safetensors"
    if change == "other":
        from safetensors.torch import load_file, save_file

        # Another file in its place: one that is read must not be written into.
        save_file(
            {name: one + 1 for name, one in load_file(file).items()}, tmp_path / "new", {"format": "pt"}
        )
        (tmp_path / "new").replace(file)
        engine.use(document(folder))
        assert engine.loads == 2
        assert found_by(engine) == found_by(Engine.of(document(folder), tmp_path))
        return
    data = file.read_bytes()
    file.unlink()
    if change == "cut":
        file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidModel):
        engine.use(document(folder))


def test_matrices_lie_as_products_read_them(candidates: dict[str, ModelDocument], tmp_path: Path) -> None:
    """Column after column, through merging, sleep and waking; an embedding's rows stay together."""
    engine = Engine.of(candidates["base"], tmp_path)
    for name in ("base", "lora", "base", "dora", "full"):
        engine.use(candidates[name])
        model = engine.used.model
        rows = model.get_input_embeddings().weight
        assert rows.is_contiguous()
        matrices = [one.weight for one in model.modules() if isinstance(one, torch.nn.Linear)]
        assert all(one.t().is_contiguous() for one in matrices if one is not rows), name
    assert engine.loads == 2


def test_an_adapter_with_no_effect_is_seen(
    base: Path, candidates: dict[str, ModelDocument], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    nothing = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"])
    )
    nothing.save_pretrained(tmp_path / "nothing")
    engine = Engine.of(document(base, tmp_path / "nothing"), tmp_path)
    assert engine.effect(ASKED) == 0.0
    before = engine.answer(ASKED, GREEDY)
    for name in FORMS:
        engine.use(candidates[name])
        assert engine.effect(ASKED) > 1e-3, name
    engine.use(document(base, tmp_path / "nothing"))
    assert engine.answer(ASKED, GREEDY) == before


def test_an_effect_is_measured_against_the_base_in_the_adapters_own_format(
    base: Path, tmp_path: Path
) -> None:
    """In few bits, too, which no whole model is held in: another format has other logits."""
    nothing, something = (
        make_adapter(base, tmp_path / str(strength), strength=strength, target_modules=["q_proj"])
        for strength in (0.0, 0.2)
    )
    engine = Engine(tmp_path)
    for quantised in ("load_in_4bit", "load_in_8bit"):
        engine.use(document(base, nothing, **{quantised: True}))
        assert engine.effect(ASKED) == 0.0, quantised
        engine.use(document(base, something, **{quantised: True}))
        assert engine.effect(ASKED) > 0.0, quantised


def test_answers_are_those_of_plain_generate(candidates: dict[str, ModelDocument], tmp_path: Path) -> None:
    engine = Engine.of(candidates["lora"], tmp_path)
    made = engine.answer(ASKED, GREEDY)
    for prompt, answer in zip(ASKED, made, strict=True):
        ids = torch.tensor([prompt])
        settings = GenerationConfig(
            max_new_tokens=8, do_sample=False, eos_token_id=sorted(engine.stops), pad_token_id=0
        )
        plain = engine.used.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )[0, len(prompt) :].tolist()
        ended = bool(plain) and plain[-1] in engine.stops
        assert answer == Made(plain[: len(plain) - ended], ended)


def test_the_model_before_is_let_go(candidates: dict[str, ModelDocument], tmp_path: Path) -> None:
    """Of whole models one is in memory."""
    engine = Engine.of(candidates["lora"], tmp_path)
    for name in ("dora", "lora_bias", "full", "lora"):
        before = weakref.ref(engine.used.model)
        engine.use(candidates[name])
        gc.collect()
        assert before() is None, name


def test_the_candidate_before_is_gone_before_the_bases_weights_come_back(
    candidates: dict[str, ModelDocument], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both at once would take the touched weights twice: a library's modules hold each other."""
    engine = Engine.of(candidates["lora"], tmp_path)
    before = weakref.ref(engine.used.model)
    wake, gone = asleep.Asleep.wake, []

    def watched(sleeping: asleep.Asleep) -> bool:
        gone.append(before() is None)
        return wake(sleeping)

    monkeypatch.setattr(asleep.Asleep, "wake", watched)
    gc.disable()
    try:
        engine.use(candidates["dora"])
    finally:
        gc.enable()
    assert gone == [True]
