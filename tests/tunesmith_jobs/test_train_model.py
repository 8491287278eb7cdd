"""What becomes of the model's parameters: LoRA variants, files, attached adapters, quantisation, heads, merging."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from tiny_model import make_tiny_model

from tunesmith.artifacts import MANIFEST, Manifest, faults_of, list_files
from tunesmith.errors import InvalidInput
from tunesmith.lifecycle import Reason, State
from tunesmith.spec.training import SEVEN_LINEAR, TrainSpec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A trained adapter's folder, with its manifest."""
    folder = tmp_path_factory.mktemp("first")
    assert tr.run(folder, model, max_steps=4).outcome is State.COMPLETED
    return folder / "artifacts" / "model"


def load(path: Path, labels: list[str] | None = None, **given: Any) -> Any:
    from tunesmith_jobs.models import build as models
    from tunesmith_jobs.models.precision import Choice

    given = {"model_name_or_path": str(path), "train_file": "/t", "precision": "fp32"} | given
    return models.load(path, TrainSpec.read(given), Choice("cpu", "fp32", ""), labels)


def lora_of(model: Any) -> Any:
    return model.peft_config["default"]


def facts_of(tuned: Any) -> dict[str, Any]:
    from tunesmith_jobs.models.build import facts

    return facts(tuned, TrainSpec.read({"model": "m", "train_file": "/t"}))


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(torch.arange(5, 25)[None]).logits


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ({"r": 4}, {"r": 4, "lora_alpha": 16, "lora_dropout": 0.0, "bias": "none"}),
        ({"lora_alpha": 64}, {"lora_alpha": 64}),
        ({"lora_dropout": 0.25}, {"lora_dropout": 0.25}),
        ({"bias": "all"}, {"bias": "all"}),
        ({"bias": "lora_only"}, {"bias": "lora_only"}),
        ({"use_rslora": True}, {"use_rslora": True}),
        ({"use_dora": True}, {"use_dora": True}),
        ({"target_modules": ["q_proj", "v_proj"]}, {"target_modules": {"q_proj", "v_proj"}}),
        ({"target_modules": "auto"}, {"target_modules": set(SEVEN_LINEAR)}),
    ],
)
def test_a_lora_parameter_reaches_peft(model: Path, given: dict[str, Any], received: dict[str, Any]) -> None:
    tuned = load(model, **given)
    assert {name: getattr(lora_of(tuned), name) for name in received} == received
    trained = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name or "bias" in name for name in trained)


def test_all_linear_takes_every_linear_layer_but_the_head(model: Path) -> None:
    assert facts_of(load(model, target_modules="all-linear"))["lora_targets"] == sorted(SEVEN_LINEAR)


def test_rank_stabilised_lora_scales_by_the_root(model: Path) -> None:
    def scale(**given: Any) -> float:
        tuned = load(model, r=4, lora_alpha=16, target_modules=["q_proj"], **given)
        return float(tuned.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"])

    assert (scale(), scale(use_rslora=True)) == (4.0, 8.0)


def test_auto_takes_all_linear_layers_where_there_are_none_of_the_seven() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from tunesmith_jobs.models.adapters import add_lora, linear_names

    other = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    spec = TrainSpec.read({"model": "m", "train_file": "/t", "target_modules": "auto"})
    tuned = add_lora(other, spec, linear_names(other))
    assert facts_of(tuned)["lora_targets"] == ["c_attn", "c_fc", "c_proj"]


def test_targets_that_the_model_lacks_are_refused_with_those_it_has(model: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be added") as caught:
        load(model, target_modules=["nothing_is_called_so"])
    assert "`q_proj`" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lora.json", '{"r": 3, "lora_alpha": 5, "target_modules": ["q_proj"], "peft_type": "LORA"}'),
        (
            "lora.yml",
            "r: 3\nlora_alpha: 5\ntarget_modules: [q_proj]\ntask_type: CAUSAL_LM\ninference_mode: true\n",
        ),
    ],
)
def test_a_configuration_file_replaces_the_parameters(
    tmp_path: Path, model: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    config = lora_of(load(model, r=64, peft_config_path=str(tmp_path / name)))
    assert (config.r, config.lora_alpha, config.target_modules) == (3, 5, {"q_proj"})
    assert not config.inference_mode


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"lora_alhpa": 5}', "Did you mean `lora_alpha`"),
        ('{"peft_type": "IA3"}', "only LORA"),
        ("[1, 2]", "no mapping"),
        ("{", "cannot be read"),
        ('{"r": 3, "target_modules": ["nothing"]}', "cannot be added"),
    ],
)
def test_a_wrong_configuration_file_is_refused(tmp_path: Path, model: Path, text: str, word: str) -> None:
    file = tmp_path / "lora.json"
    file.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load(model, peft_config_path=str(file))
    assert word in f"{caught.value.message} {caught.value.hint}"


def test_a_configuration_file_imports_no_module(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "lora.json"
    file.write_text(
        '{"r": 3, "target_modules": ["q_proj"], "megatron_config": {"a": 1}, "megatron_core": "no.such"}'
    )
    assert lora_of(load(model, peft_config_path=str(file))).megatron_config is None


def test_an_attached_adapter_is_trained_on(tmp_path: Path, model: Path, adapter: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    attached = load(model, attach_lora_path=str(adapter), r=2)
    assert lora_of(attached).r == 16  # the adapter's own shape counts
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)
    assert torch.equal(logits(attached), logits(plain))
    first = tr.losses(adapter.parents[1])
    rows = shutil.copyfile(adapter.parents[1] / "train.jsonl", tmp_path / "train.jsonl")
    outcome = tr.run(tmp_path, model, rows=rows, max_steps=4, attach_lora_path=str(adapter))
    assert outcome.outcome is State.COMPLETED, outcome
    again = tr.losses(tmp_path)
    assert again[1] < first[1] - 0.2
    assert tr.facts(tmp_path)["adapter"] == str(adapter)


def test_an_adapter_in_a_storage_elsewhere_is_fetched(
    model: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tunesmith.storage import LocalStorage

    class Elsewhere(LocalStorage):
        def get_folder(self, path: str, scratch: Path) -> Path:
            return Path(shutil.copytree(self.root / path, scratch / path))

    monkeypatch.setattr("tunesmith_jobs.models.fetch.open_storage", lambda _: Elsewhere(adapter.parent))
    fetched = load(model, attach_lora_path=f"s3://bucket/prefix/{adapter.name}")
    assert torch.equal(logits(fetched), logits(load(model, attach_lora_path=adapter.as_uri())))


@pytest.mark.parametrize("fault", ["other model", "no weights", "pickle", "damaged", "nowhere"])
def test_an_adapter_that_does_not_fit_is_refused(
    tmp_path: Path, model: Path, adapter: Path, fault: str
) -> None:
    folder, base = tmp_path / "adapter", model
    shutil.copytree(adapter, folder)
    weights = folder / "adapter_model.safetensors"
    if fault == "other model":
        base = make_tiny_model(tmp_path / "other", hidden=32)
    elif fault == "no weights":
        weights.unlink()
    elif fault == "pickle":
        weights.rename(folder / "adapter_model.bin")
    elif fault == "damaged":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    else:
        folder = tmp_path / "nothing"
    with pytest.raises(InvalidInput) as caught:
        load(base, attach_lora_path=str(folder))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "word", "layer"),
    [
        ({"load_in_4bit": True}, "nf4, double", "Linear4bit"),
        ({"load_in_4bit": True, "bnb_4bit_use_double_quant": False}, "nf4", "Linear4bit"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "fp4, double", "Linear4bit"),
        ({"load_in_8bit": True}, "int8", "Linear8bitLt"),
    ],
)
def test_a_quantised_base_is_trained_and_saved_as_an_adapter(
    tmp_path: Path, model: Path, given: dict[str, Any], word: str, layer: str
) -> None:
    tuned = load(model, **given)
    kinds = {type(module.base_layer).__name__ for module in tuned.modules() if hasattr(module, "base_layer")}
    assert kinds == {layer}
    outcome = tr.run(tmp_path, model, **given)
    assert outcome.outcome is State.COMPLETED, outcome
    loss, found = tr.losses(tmp_path), tr.facts(tmp_path)
    assert loss[12] < loss[1] - 0.3
    assert found["quantization"] == word
    assert found["parameters"] == sum(p.numel() for p in load(model).parameters())


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_the_compute_type_reaches_bitsandbytes(model: Path, dtype: str) -> None:
    import torch

    tuned = load(model, load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
    config = tuned.base_model.model.config.quantization_config
    wanted = torch.float32 if dtype == "auto" else torch.bfloat16
    assert config.bnb_4bit_compute_dtype is wanted


@pytest.mark.parametrize("double", [False, True])
def test_an_evaluation_takes_no_gradient_from_a_4_bit_base(model: Path, double: bool) -> None:
    """Where the processor has bf16 bitsandbytes would change the weights' layout, and gradients would be lost."""
    import torch

    tuned = load(model, load_in_4bit=True, bnb_4bit_use_double_quant=double, lora_dropout=0.0)
    ids = torch.arange(12)[None]

    def gradients() -> dict[str, torch.Tensor]:
        tuned.train()
        tuned.zero_grad()
        tuned(input_ids=ids, labels=ids).loss.backward()
        return {name: p.grad.clone() for name, p in tuned.named_parameters() if p.grad is not None}

    before = gradients()
    tuned.eval()
    with torch.no_grad():
        tuned(input_ids=ids)
    after = gradients()
    assert before.keys() == after.keys()
    assert before
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_bitsandbytes_the_cure_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_jobs.models.build.importlib.util.find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match="bitsandbytes") as caught:
        load(model, load_in_4bit=True)
    assert "pip install" in str(caught.value.hint)


@pytest.mark.parametrize("given", [{}, {"use_lora": False}, {"load_in_4bit": True}])
def test_a_classifier_has_its_classes_and_a_trained_head(model: Path, given: dict[str, Any]) -> None:
    import torch

    tuned = load(model, ["no", "yes", "perhaps"], training_type="classification", **given)
    config = tuned.config
    assert (config.num_labels, config.id2label[2], config.label2id["yes"]) == (3, "perhaps", 1)
    assert isinstance(config.pad_token_id, int)
    heads = [p for name, p in tuned.named_parameters() if "score" in name and p.requires_grad]
    assert [tuple(p.shape) for p in heads] == [(3, 64)]
    assert heads[0].dtype is torch.float32
    if given.get("use_lora", True):
        assert lora_of(tuned).task_type == "SEQ_CLS"


def test_with_all_weights_everything_is_trained(model: Path) -> None:
    import torch

    tuned = load(model, use_lora=False)
    assert all(p.requires_grad and p.dtype is torch.float32 for p in tuned.parameters())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_asked_for_is_used(tmp_path: Path, model: Path, attention: str) -> None:
    assert tr.run(tmp_path, model, max_steps=1, attn_implementation=attention).outcome is State.COMPLETED
    assert tr.facts(tmp_path)["attention"] == attention


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"use_dora": True},
        {"bias": "all"},
        {"load_in_4bit": True},
        {"target_modules": ["embed_tokens", "q_proj"]},
    ],
)
def test_a_merged_model_answers_as_base_and_adapter(
    tmp_path: Path, model: Path, given: dict[str, Any]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    outcome = tr.run(tmp_path, model, max_steps=6, merge_lora_after_training=True, **given)
    assert outcome.outcome is State.COMPLETED, outcome
    final = tmp_path / "artifacts" / "model"
    assert not faults_of(final)
    assert outcome.model_uri == str(final)
    merged = AutoModelForCausalLM.from_pretrained(final)
    base = AutoModelForCausalLM.from_pretrained(model)
    before = logits(base)
    tuned = PeftModel.from_pretrained(base, final / "adapter")
    assert float((logits(merged) - logits(tuned)).abs().max()) < 1e-4
    assert float((logits(merged) - before).abs().max()) > 1e-2
    assert merged.dtype is torch.float32
    assert AutoTokenizer.from_pretrained(final).chat_template
    assert "AutoModelForCausalLM" in (final / "README.md").read_text()


def test_a_new_stage_starts_from_a_checkpoint_of_all_weights(tmp_path: Path, model: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert tr.run(first, model, use_lora=False, learning_rate=1e-3, max_steps=4).outcome is State.COMPLETED
    checkpoint = first / "artifacts" / "checkpoints" / "checkpoint-4"
    shutil.copyfile(first / "train.jsonl", second / "train.jsonl")
    outcome = tr.run(second, checkpoint, use_lora=False, learning_rate=1e-3, max_steps=1)
    assert outcome.outcome is State.COMPLETED, outcome
    assert tr.losses(second)[1] < tr.losses(first)[1] - 0.2


def test_an_adapters_files_are_named_in_its_manifest(adapter: Path) -> None:
    manifest = Manifest.decode((adapter / MANIFEST).read_bytes())
    assert manifest is not None
    assert manifest.files == list_files(adapter)
    assert json.loads((adapter / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"


def test_a_checkpoint_of_the_other_kind_is_no_state_to_go_on_from(
    tmp_path: Path, model: Path, adapter: Path
) -> None:
    checkpoint = adapter.parent / "checkpoints" / "checkpoint-4"
    outcome = tr.run(tmp_path, model, use_lora=False, resume_from_checkpoint=str(checkpoint))
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS)
    assert "holds a LoRA" in outcome.message
