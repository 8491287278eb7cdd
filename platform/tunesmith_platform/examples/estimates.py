"""Estimates."""

import datetime as dt

from tunesmith import estimate

_MEMORY = estimate.MemoryView(
    weights=538_000_000,
    gradients=19_500_000,
    optimizer=39_000_000,
    activations=910_000_000,
    logits=201_000_000,
    framework=560_000_000,
    peak=2_267_500_000,
)
ESTIMATE = estimate.EstimateView(
    level=estimate.Level.FORMULA,
    steps=estimate.StepsView(
        steps_per_epoch=25, total_steps=50, warmup_steps=5, evaluations=0, checkpoints=1
    ),
    data=estimate.DataView(
        rows=198,
        is_sample=False,
        looked_at=198,
        cut_share=0.02,
        dropped_share=0.0,
        tokens=30_112,
        tokens_lost=411,
        supervised_tokens=14_903,
        mean_tokens=152.1,
        longest_tokens=512,
        padding_share=0.31,
        padding_share_packed=0.02,
    ),
    disk=estimate.DiskView(
        checkpoint_bytes=58_700_000,
        kept=1,
        final_bytes=22_000_000,
        total_bytes=80_700_000,
        free_bytes=81_000_000_000,
    ),
    memory=_MEMORY,
    time=estimate.SpeedView(
        seconds_per_step=5.1,
        training_seconds=255.0,
        start_seconds=35.0,
        total_seconds=290.0,
        source="the speed that this machine was calibrated at",
    ),
    hardware=estimate.HardwareView(
        device="cpu", name="a processor", precision="bf16", workers=1, memory_bytes=16_000_000_000
    ),
    trainable_parameters=4_884_480,
    parameters=134_515_008,
    fits=True,
    settings=[
        estimate.SettingView(
            name="smaller micro-batch",
            change={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
            memory=_MEMORY.model_copy(update={"activations": 455_000_000, "peak": 1_812_500_000}),
            seconds_per_step=5.3,
            fits=True,
        )
    ],
)
MEASURING = ESTIMATE.model_copy(
    update={
        "measurement": estimate.MeasurementView(
            id="measure-01k9xq7c2m5d8e4f9g",
            state=estimate.MeasurementState.MEASURING,
            message="Being handed to Ray.",
            created_at=dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC),
        )
    }
)
