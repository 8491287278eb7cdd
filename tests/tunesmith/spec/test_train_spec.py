"""A training spec: defaults that depend on others, other spellings, what has no effect, what a form is drawn from."""

from typing import Any, get_args

import pytest

from tunesmith.errors import InvalidInput, UnknownField
from tunesmith.planning import plan_steps
from tunesmith.schema import form_schema, rows
from tunesmith.spec.groups.steps import Scheduler
from tunesmith.spec.parameter import FOLD_LABELS, GROUP_LABELS, Condition, Fold, Group
from tunesmith.spec.training import SEVEN_LINEAR, TrainSpec, chosen_targets

BASE = {"model_name_or_path": "m", "train_file": "/t"}


def read(**given: Any) -> TrainSpec:
    return TrainSpec.read(BASE | given)


def noticed(spec: TrainSpec) -> dict[str, str]:
    return {notice.field: notice.message for notice in spec.notices}


# --- defaults


@pytest.mark.parametrize(
    ("given", "use_lora", "learning_rate"),
    [
        ({}, True, 2e-4),
        ({"use_lora": False}, False, 2e-5),
        ({"training_type": "pretrain"}, False, 1e-4),
        ({"training_type": "pretrain", "use_lora": True}, True, 1e-4),
        ({"training_type": "classification"}, True, 2e-4),
        ({"training_type": "classification", "use_lora": "False"}, False, 2e-5),
        ({"use_lora": False, "learning_rate": 3e-4}, False, 3e-4),
        ({"use_lora": False, "learning_rate": None}, False, 2e-5),
    ],
)
def test_the_learning_rate_follows_the_method_until_it_is_given(
    given: dict[str, Any], use_lora: bool, learning_rate: float
) -> None:
    """C5, C42."""
    spec = read(**given)
    assert (spec.use_lora, spec.learning_rate) == (use_lora, learning_rate)
    assert spec.model_dump()["learning_rate"] == learning_rate, "it is stored as a number"
    assert TrainSpec.stored(spec.model_dump(mode="json")).model_dump() == spec.model_dump()


def test_defaults_are_those_the_sources_agreed_on() -> None:
    """C1-C4, C6-C9, C11, C14-C18, C22-C24, C26, C40: one row each."""
    spec = read()
    assert spec.target_modules == list(SEVEN_LINEAR)
    expected = {
        "r": 16,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "max_length": 512,
        "num_train_epochs": 2,
        "lr_scheduler_type": "cosine",
        "gradient_checkpointing": True,
        "save_steps": 100,
        "eval_steps": 100,
        "eval_strategy": "no",
        "save_total_limit": 100,
        "early_stopping_patience": 0,
        "load_in_4bit": False,
        "seed": 42,
        "dataloader_num_workers": 1,
        "dataloader_pin_memory": False,
        "reshuffle_each_epoch": False,
        "save_interval_minutes": 30,
        "precision": "auto",
        "report_to": ["mlflow"],
    }
    assert {name: getattr(spec, name) for name in expected} == expected
    assert not spec.notices


def test_giving_a_lora_to_attach_turns_attaching_on() -> None:
    """C45."""
    assert read(attach_lora_path="/lora").attach_lora
    spec = read(attach_lora_path="/lora", attach_lora=False)
    assert not spec.attach_lora
    assert "attach_lora=true" in noticed(spec)["attach_lora_path"]


@pytest.mark.parametrize(
    ("asked", "there", "chosen"),
    [
        (["auto"], [*SEVEN_LINEAR, "lm_head"], list(SEVEN_LINEAR)),
        (["auto"], ["q_proj", "fc1"], ["q_proj"]),
        (["auto"], ["c_attn", "c_proj"], ["all-linear"]),
        (["q_proj"], ["c_attn"], ["q_proj"]),
    ],
)
def test_automatic_targets_are_those_of_the_seven_that_exist(
    asked: list[str], there: list[str], chosen: list[str]
) -> None:
    assert chosen_targets(asked, there) == chosen


# --- values


@pytest.mark.parametrize(
    ("given", "least", "most"), [(1, 1, 1), ("3", 3, 3), ("2:4", 2, 4), ("2:2", 2, 2), (" 2 : 4 ", 2, 4)]
)
def test_workers_are_a_number_or_a_range(given: Any, least: int, most: int) -> None:
    spec = read(num_workers=given)
    assert spec.workers == (least, most)
    assert spec.effective_batch_size == 8 * most


@pytest.mark.parametrize("given", [0, -1, "4:2", "1:2:3", "many", True, 1.5, "0:2", 2000])
def test_no_other_workers_are_taken(given: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(num_workers=given)
    assert [problem.field for problem in caught.value.problems] == ["num_workers"]


def test_the_effective_batch_stays_when_fewer_workers_come() -> None:
    spec = read(num_workers="1:2", per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert plan_steps(spec, 64, workers=1).total_steps == plan_steps(spec, 64).total_steps == 16


def test_saving_the_best_makes_at_most_a_checkpoint_an_evaluation() -> None:
    spec = read(save_strategy="best", eval_strategy="steps", eval_steps=5, eval_file="/e", max_steps=20)
    assert plan_steps(spec, 1000).checkpoints == 4


@pytest.mark.parametrize("schedule", get_args(Scheduler))
def test_the_plan_warms_up_where_the_notice_says_that_it_has_an_effect(schedule: str) -> None:
    """An optimizer that could warm up by itself (`schedule_free_adamw`) follows the schedule too."""
    evaluates = {"eval_strategy": "epoch", "eval_sampling_ratio": 0.1}
    spec = read(optim="schedule_free_adamw", lr_scheduler_type=schedule, warmup_steps=7, **evaluates)
    has_effect = "warmup_steps" not in noticed(spec)
    assert has_effect == (schedule not in ("constant", "reduce_lr_on_plateau"))
    assert plan_steps(spec, 1000).warmup_steps == (7 if has_effect else 0)


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ({"optim": "adamw_bnb_8bit"}, {"optim": "adamw_8bit"}),
        ({"optim": "schedule_free_radamw"}, {"optim": "schedule_free_radam"}),
        ({"optimizer": "stableadamw"}, {"optim": "stable_adamw"}),
        ({"target_modules": "q_proj, v_proj"}, {"target_modules": ["q_proj", "v_proj"]}),
        ({"target_modules": "auto"}, {"target_modules": ["auto"]}),
        ({"report_to": "mlflow,wandb"}, {"report_to": ["mlflow", "wandb"]}),
        ({"deepspeed_stage": "2"}, {"deepspeed_stage": 2}),
        ({"use_lora": "True", "fp16": "false"}, {"use_lora": True, "fp16": False}),
        ({"seed": None, "r": None}, {"seed": 42, "r": 16}),
        ({"save_strategy": False}, {"save_strategy": "no"}),
    ],
)
def test_other_spellings_of_values(given: dict[str, Any], read_as: dict[str, Any]) -> None:
    """C20 among them; others write null for what they leave open."""
    spec = read(**given)
    assert {name: getattr(spec, name) for name in read_as} == read_as


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"training_type": "dpo"}, "Use `sft`"),
        ({"optim": "adamw_hf"}, "`adamw_torch`"),
        ({"optimizer": "adamw_apex_fused"}, "`adamw_torch_fused`"),
    ],
)
def test_what_is_not_offered_here_is_refused_with_the_way_out(given: dict[str, Any], hint: str) -> None:
    """C20."""
    with pytest.raises(InvalidInput) as caught:
        read(**given)
    assert hint in str(caught.value.hint)


def test_two_names_of_one_parameter_are_refused() -> None:
    with pytest.raises(InvalidInput, match="is another name of `r`") as caught:
        read(r=8, lora_r=8)
    assert caught.value.problems[0].field == "r"


def test_an_unknown_name_gets_a_did_you_mean() -> None:
    with pytest.raises(UnknownField) as caught:
        read(merge_lora_after_trainin=True)
    assert caught.value.hint == "Did you mean `merge_lora_after_training`?"


@pytest.mark.parametrize(
    ("under", "over", "result"),
    [
        ({"lora_r": 4, "seed": 1}, {"r": 8}, {"seed": 1, "r": 8}),
        ({"r": 4}, {"lora_rank": 8}, {"lora_rank": 8}),
        ({"lora": {"rank": 4, "alpha": 8}}, {"r": 2}, {"use_lora": True, "lora_alpha": 8, "r": 2}),
        (
            {"quantization": "nf4"},
            {"load_in_4bit": False},
            {"bnb_4bit_quant_type": "nf4", "load_in_4bit": False},
        ),
        ({"device": "gpu"}, {"use_cpu": True}, {"use_cpu": True}),
        ({"optim": "adamw_hf"}, {"optimizer": "sgd"}, {"optimizer": "sgd"}),
        ({"lerning_rate": 1}, {"seed": 1}, {"lerning_rate": 1, "seed": 1}),
    ],
)
def test_parameters_lie_over_others_however_either_spells_them(
    under: dict[str, Any], over: dict[str, Any], result: dict[str, Any]
) -> None:
    assert TrainSpec.merged(under, over) == result


# --- what has no effect


@pytest.mark.parametrize(
    ("given", "field", "needs"),
    [
        ({"use_lora": False, "r": 8}, "r", "`use_lora=true`"),
        ({"use_lora": False, "merge_adapter": True}, "merge_lora_after_training", "`use_lora=true`"),
        ({"peft_config_path": "/c.json", "lora_alpha": 8}, "lora_alpha", "peft_config_path=null"),
        ({"eval_steps": 7}, "eval_steps", "eval_strategy=steps"),
        ({"eval_file": "/e", "eval_strategy": "no"}, "eval_file", "eval_strategy=steps"),
        ({"eval_file": "/e", "eval_sampling_ratio": 0.1}, "eval_sampling_ratio", "eval_file=null"),
        ({"wandb_name": "n"}, "wandb_name", "wandb in report_to"),
        ({"max_steps": 5, "num_train_epochs": 3}, "num_train_epochs", "max_steps<=0"),
        ({"warmup_steps": 5, "warmup_ratio": 0.2}, "warmup_ratio", "warmup_steps=0"),
        (
            {"lr_scheduler_type": "constant", "warmup_steps": 5},
            "warmup_steps",
            "lr_scheduler_type not in (constant",
        ),
        ({"num_cycles": 3}, "num_cycles", "lr_scheduler_type=cosine_with_restarts"),
        ({"min_lr": 1e-5}, "min_lr", "lr_scheduler_type"),
        ({"save_strategy": "epoch", "save_steps": 5}, "save_steps", "save_strategy=steps"),
        (
            {"save_strategy": "no", "save_interval_minutes": 5},
            "save_interval_minutes",
            "save_strategy!=no",
        ),
        ({"bnb_4bit_quant_type": "fp4"}, "bnb_4bit_quant_type", "load_in_4bit=true"),
        ({"deepspeed_offload": "optimizer_cpu"}, "deepspeed_offload", "deepspeed_stage>=2"),
        ({"deepspeed": "/d.json", "deepspeed_stage": 1}, "deepspeed_stage", "deepspeed=null"),
        ({"placement": "spread"}, "placement", "num_workers!=1"),
        ({"device": "cpu", "dataloader_pin_memory": True}, "dataloader_pin_memory", "device!=cpu"),
        ({"device": "cpu", "tf32": True}, "tf32", "device!=cpu"),
        ({"label_column": "y"}, "label_column", "training_type=classification"),
        ({"optim": "lomo", "max_grad_norm": 0.5}, "max_grad_norm", "optim not in (lomo, adalomo"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 9}, "warmup_steps", "not in (constant"),
        ({"training_type": "pretrain", "packing": True}, "packing", "training_type=sft"),
        ({"training_type": "pretrain", "prompt_column": "p"}, "prompt_column", "training_type=sft"),
        (
            {"training_type": "classification", "chat_template": "chatml"},
            "chat_template",
            "training_type=sft",
        ),
    ],
)
def test_what_has_no_effect_is_named(given: dict[str, Any], field: str, needs: str) -> None:
    assert needs in noticed(read(**given))[field]


def test_a_default_that_has_no_effect_is_not_worth_a_word() -> None:
    assert not read(use_lora=False, r=16, learning_rate=2e-5, eval_steps=100).notices


# --- the form


def test_the_form_can_be_drawn_from_the_schema() -> None:
    schema = form_schema(TrainSpec)
    assert [group["name"] for group in schema["groups"]] == [group.value for group in Group]
    assert [fold["name"] for fold in schema["folds"]] == [fold.value for fold in Fold]
    assert all(group["label_en"] and group["label_zh"] for group in schema["groups"])
    assert set(GROUP_LABELS) == set(Group)
    assert set(FOLD_LABELS) == set(Fold)
    for name, drawn in schema["properties"].items():
        about = drawn["tunesmith"]
        assert about["label_en"], name
        assert about["label_zh"], name
        assert about["help_en"], name
        assert about["help_zh"], name
        assert about["required"] or "default" in drawn, name
        rules = [*about.get("visible_when", ()), *about.get("offered_when", ())]
        rules += [condition for rule in about.get("default_when", ()) for condition in rule["when"]]
        for rule in rules:
            assert Condition.model_validate(rule).field in schema["properties"], name
    assert schema["properties"]["per_device_train_batch_size"]["tunesmith"]["ui_max"] == 128
    assert schema["properties"]["report_to"]["tunesmith"]["choices"] == [
        "mlflow",
        "tensorboard",
        "wandb",
        "none",
    ]


def test_no_name_means_two_parameters() -> None:
    found = [spelling for row in rows(TrainSpec) for spelling in (row.name, *row.about.aliases)]
    assert len(found) == len(set(found))


def test_rows_to_evaluate_are_evaluated_and_a_rate_has_its_short_name() -> None:
    assert read(eval_file="/e").eval_strategy == "steps"
    assert read(eval_file="/e", eval_strategy="epoch").eval_strategy == "epoch"
    assert read().eval_strategy == "no"
    assert read(lr=1e-3).learning_rate == 1e-3
