"""TRL's SFTTrainer on the same documents, where it is installed: packing, its chunked LM head, fused AdamW.

With flash-attn its documents are kept apart; without it TRL cuts and joins them, and attention crosses their
borders, which is quicker than a mask over the whole pack.
"""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM, TrainerCallback

from tests.benchmarks.gpu_rows.lab import WARM_UP_STEPS, need_seconds
from tests.benchmarks.gpu_rows.ours import OPTIM
from tests.benchmarks.harness import Figure, Void

if TYPE_CHECKING:
    from tests.benchmarks.gpu_rows.gauge import Gauge
    from tests.benchmarks.gpu_rows.lab import Lab

SECONDS = 60.0
"""What it may take, its model included."""


def seconds_a_token(lab: Lab) -> Figure:
    """Time of a trained token; raises Void where TRL is not installed or too little time is left."""
    missing = [name for name in ("trl", "datasets", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise Void(f"{' and '.join(missing)} not installed")
    need_seconds(lab, SECONDS)
    torch.manual_seed(0)
    config = lab.sizes.config("1.7B")
    has_flash = lab.gauge.is_gpu and importlib.util.find_spec("flash_attn") is not None
    config._attn_implementation = "flash_attention_2" if has_flash else "sdpa"
    with lab.device:
        model = Qwen3ForCausalLM(config)
    clock = _Clock(lab.gauge)
    trainer = _trainer(lab, model, clock, has_flash=has_flash)
    trainer.train()
    share = sum(pack.trained_tokens for pack in lab.packs) / sum(pack.tokens for pack in lab.packs)
    steps = len(clock.times) - WARM_UP_STEPS
    seconds = clock.times[-1] - clock.times[WARM_UP_STEPS - 1]
    # its packs are full as ours are: so many of their tokens are trained
    return Figure(f"TRL, {config._attn_implementation}", (seconds / (steps * lab.sizes.max_length * share),))


class _Clock(TrainerCallback):  # type: ignore[misc]
    """When each step ended on the device."""

    def __init__(self, gauge: Gauge) -> None:
        self.times: list[float] = []
        self._gauge = gauge

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._gauge.wait()
        self.times.append(time.perf_counter())


def _trainer(lab: Lab, model: Qwen3ForCausalLM, clock: _Clock, *, has_flash: bool) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        output_dir=str(lab.folder / "trl"),
        packing=True,
        packing_strategy="bfd" if has_flash else "wrapped",
        max_length=lab.sizes.max_length,
        max_steps=WARM_UP_STEPS + lab.sizes.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing=True,
        use_cpu=not lab.gauge.is_gpu,
        bf16=lab.gauge.is_gpu,
        optim="adamw_torch_fused",
        learning_rate=OPTIM.learning_rate,
        max_grad_norm=OPTIM.max_grad_norm,
        logging_steps=1000,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(list(_documents(lab))),
        processing_class=_tokenizer(),
        callbacks=[clock],
    )


def _documents(lab: Lab) -> Any:
    for pack in lab.packs:
        lengths = pack.cu_seqlens.diff().tolist()
        pieces = zip(pack.input_ids_T.split(lengths), pack.labels_T.split(lengths), strict=True)
        for ids, labels in list(pieces)[: pack.samples]:
            yield {"input_ids": ids.tolist(), "labels": [-100, *labels.tolist()[:-1]]}


def _tokenizer() -> PreTrainedTokenizerFast:
    """As much of a tokenizer as SFTTrainer asks for: nothing is tokenised."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1, "<unknown>": 2}, unk_token="<unknown>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")
