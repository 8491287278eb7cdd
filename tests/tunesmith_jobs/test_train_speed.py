"""What makes a step faster changes no number: parts of a batch, and the LoRA in one operation."""

import copy
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("one_thread")


# --- memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such switch")
def test_a_step_takes_the_memory_that_the_one_before_freed() -> None:
    """In a process of its own: what is switched holds for all of it."""
    program = """
import resource
from tunesmith_jobs.models.libraries import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        bytearray(b"x") * 50_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10


# --- parts of a batch


@given(st.lists(st.integers(1, 512), min_size=1, max_size=24), st.integers(0, 200))
def test_parts_hold_every_row_once_and_cost_no_more(lengths: list[int], part_tokens: int) -> None:
    from tunesmith_jobs.batches.microbatch import best_parts

    parts = best_parts(lengths, part_tokens)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))

    def cost(parts: list[list[int]]) -> int:
        return sum(len(part) * max(lengths[row] for row in part) + part_tokens for part in parts)

    whole = [list(range(len(lengths)))]
    assert cost(parts) <= min(cost(whole), cost([[row] for row in range(len(lengths))]))
    longest = [max(lengths[row] for row in part) for part in parts]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("kind", ["sft", "classification"])
def test_a_split_batch_trains_as_a_whole_one(
    tmp_path: Path, model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import tunesmith_jobs.batches.microbatch as splitting

    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as out:
        for i in range(24):
            text = "word " * (2 + (i * 37) % 60)
            row: dict[str, Any] = {"text": text, "label": "ab"[i % 2]} if kind == "classification" else {
                "messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": text}]
            }  # fmt: skip
            out.write(json.dumps(row) + "\n")
    found, shares = [], []
    for name, part_tokens in (("whole", 10**6), ("split", 8)):
        parts = splitting.best_parts
        monkeypatch.setattr(splitting, "best_parts", lambda n, parts=parts, p=part_tokens: parts(n, p))
        folder = tmp_path / name
        folder.mkdir()
        outcome = tr.run(
            folder, model, rows=rows, per_device_train_batch_size=8, lora_dropout=0.0, max_steps=4,
            training_type=kind, precision="fp32", save_strategy="no",
        )  # fmt: skip
        monkeypatch.undo()
        assert outcome.outcome == "completed", outcome
        found.append([tr.losses(folder), tr.losses(folder, name="grad_norm")])
        shares.append(tr.losses(folder, name="useful_token_share")[1])
    for whole, split in zip(*found, strict=True):
        assert split == pytest.approx(whole, rel=1e-4)
    assert shares[1] > shares[0] + 0.1, shares


# --- the LoRA in one operation


def layer(dropout: float = 0.0, **more: Any) -> Any:
    """A linear layer with a LoRA whose second matrix is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(24, 40, bias=True))
    tuned = get_peft_model(
        net, LoraConfig(r=4, lora_alpha=10, target_modules=["0"], lora_dropout=dropout, **more)
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return tuned


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("more", [{}, {"use_rslora": True}])
def test_the_fused_lora_gives_the_numbers_of_the_plain_one(
    kind: str, dropout: float, more: dict[str, Any]
) -> None:
    import torch

    from tunesmith_jobs.models.lora_linear import use_fused_lora

    plain = layer(dropout, **more)
    fused = copy.deepcopy(plain)
    assert use_fused_lora(fused) == 1
    is_bf16 = kind == "bfloat16"
    found = []
    for net in (plain, fused):
        if is_bf16:
            base = net.base_model.model[0].base_layer
            base.to(torch.bfloat16)
        torch.manual_seed(1)
        x = torch.randn(2, 7, 24, requires_grad=True)
        net.train()
        torch.manual_seed(2)  # the same places are dropped
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            y = net(x)
        assert y.dtype == (torch.bfloat16 if is_bf16 else torch.float32)
        (y.float() ** 2).sum().backward()
        grads = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
        found.append({"y": y, "x": x.grad} | grads)
    assert set(found[0]) == set(found[1])
    for name, value in found[0].items():
        scale = float(value.detach().float().abs().max())
        apart = float((found[1][name] - value).detach().float().abs().max())
        assert apart <= (3e-2 if is_bf16 else 2e-6) * scale, name
        assert found[1][name].dtype == value.dtype, name


@pytest.mark.parametrize("more", [{"use_dora": True}, {"lora_bias": True}, {"bias": "all"}])
def test_other_kinds_of_lora_stay_as_they_are(more: dict[str, Any]) -> None:
    from tunesmith_jobs.models.lora_linear import use_fused_lora

    assert use_fused_lora(layer(**more)) == 0


def test_a_fused_model_can_be_switched_off_and_merged() -> None:
    import torch

    from tunesmith_jobs.models.lora_linear import use_fused_lora

    net = layer().eval()
    x = torch.randn(3, 24)
    tuned = net(x)
    assert use_fused_lora(net) == 1
    with net.disable_adapter():
        assert torch.equal(net(x), net.base_model.model[0].base_layer(x))
    assert torch.allclose(net(x), tuned, atol=1e-6)
    assert torch.allclose(net.merge_and_unload()(x), tuned, atol=1e-5)
