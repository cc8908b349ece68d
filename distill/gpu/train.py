"""Trains a LoRA student: `python -m distill.gpu.train FOLDER` (a `TrainSpec` and chat rows in it).

Goes on from the last whole checkpoint in the folder; the losses and the adapter are then the same
bits as those of a run that was never interrupted.
"""

import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from distill.gpu.base import commit_of, load_tokenizer, locate
from distill.gpu.model import device, load_model
from distill.gpu.rows import IGNORED, ChatEncoder
from distill.gpu.step import run_step
from distill.jobdir import InputError, JobDir, Json, listed_file, replace_folder
from distill.spec import TrainSpec

Rows = list[dict[str, list[int]]]


def train(job: JobDir, spec: TrainSpec) -> Json:
    """Train on `train.jsonl`, keep the checkpoint that is best on `validation.jsonl`."""
    job.append_progress("load", 0, 1)
    torch.set_num_threads(spec.threads)
    base = locate(spec.base_model, spec.revision)
    encoder = ChatEncoder(load_tokenizer(base))
    chats = job.rows("train")
    rows = encoder.training_rows(chats, spec.max_length)
    if not rows:
        raise InputError(f"no row fits into max_length {spec.max_length}")
    validation = encoder.training_rows(job.rows("validation"), spec.max_length)
    job.append_progress("load", 1, 1)

    early_stopping = [EarlyStoppingCallback(spec.patience)] if validation else []
    trainer = AnswerTrainer(
        model=load_model(base, _weights_dtype(spec)),
        args=_training_arguments(job, spec, len(rows), has_validation=bool(validation)),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(validation) if validation else None,
        processing_class=encoder.tokenizer,
        peft_config=_lora_config(spec),
        callbacks=[ProgressCallback(job), *early_stopping],
    )
    trainer.train(resume_from_checkpoint=_last_whole_checkpoint(job.scratch / "checkpoints"))

    job.append_progress("save", 0, 1)
    adapter = _save_adapter(trainer, job, spec)
    job.append_progress("save", 1, 1)
    return {
        "adapter": "files/adapter",
        "base_model": spec.base_model,
        "base_commit": commit_of(base),
        "rows": len(rows),
        "dropped_rows": len(chats) - len(rows),
        "validation_rows": len(validation),
        "special_tokens": encoder.special_tokens,
        "device": str(device()),
        "threads": spec.threads,
        "files": [listed_file(job, path) for path in sorted(adapter.iterdir())],
        **_figures(trainer, rows),
    }


class AnswerTrainer(SFTTrainer):
    """`SFTTrainer` that computes logits for answers only, in batches of similar length.

    Off the GPU, TRL's own loss computes the logits of every position, prompts included, which for a
    short answer to a long prompt is work for nothing.
    """

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002, FBT001, FBT002  # the trainer's signature
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the mean cross entropy of the answers' tokens."""
        labels: torch.Tensor = inputs["labels"]
        first = int((labels != IGNORED).any(dim=0).nonzero()[0])
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            logits_to_keep=labels.shape[1] - first + 1,
        ).logits
        answers = labels[:, first:]
        loss: torch.Tensor = cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            answers.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        if num_items_in_batch is None:
            num_items_in_batch = (answers != IGNORED).sum()
        else:
            loss = loss * self.accelerator.num_processes
        return loss / num_items_in_batch

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> "LengthGroupedSampler":
        rows: Any = train_dataset or self.train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        lengths = [len(ids) for ids in rows["input_ids"]]
        return LengthGroupedSampler(lengths, batch, self.args.seed)


class LengthGroupedSampler(Sampler[int]):
    """Shuffles anew each epoch, similar lengths together; the order depends on seed and epoch only.

    transformers' own sampler draws from the global generator, which a resumed run has elsewhere.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = get_length_grouped_indices(  # type: ignore[no-untyped-call]
            self.lengths, self.batch_size, generator=generator
        )
        return iter(order)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; the trainer calls this before each epoch."""
        self.epoch = epoch


class ProgressCallback(TrainerCallback):
    """Writes what the trainer logs into `progress.jsonl`."""

    def __init__(self, job: JobDir) -> None:
        self.job = job

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the trainer's signature, as the next two
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        """Append one event per logged loss."""
        names = ("loss", "eval_loss", "learning_rate", "epoch", "grad_norm")
        details: dict[str, object] = {
            name: float(logs[name]) for name in names if logs and name in logs
        }
        if "loss" in details or "eval_loss" in details:
            details["tokens"] = int(state.num_input_tokens_seen)
            self.job.append_progress("train", state.global_step, state.max_steps, **details)


def _weights_dtype(spec: TrainSpec) -> torch.dtype:
    """Return bfloat16 on a GPU; weights that are trained themselves stay float32."""
    on_gpu = torch.cuda.is_available() and not spec.train_embeddings
    return torch.bfloat16 if on_gpu else torch.float32


def _training_arguments(
    job: JobDir, spec: TrainSpec, rows: int, *, has_validation: bool
) -> SFTConfig:
    steps_per_epoch = math.ceil(rows / (spec.batch_size * spec.gradient_accumulation))
    steps = math.ceil(steps_per_epoch * spec.epochs)
    on_gpu = torch.cuda.is_available()
    checkpoint_every = max(1, math.ceil(steps / spec.evaluations))
    return SFTConfig(
        output_dir=str(job.scratch / "checkpoints"),
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=2 * spec.batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=spec.warmup,
        weight_decay=spec.weight_decay,
        max_length=spec.max_length,
        completion_only_loss=True,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        eval_strategy="steps" if has_validation else "no",
        eval_steps=checkpoint_every if has_validation else None,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=checkpoint_every,
        save_total_limit=2,
        load_best_model_at_end=has_validation,
        metric_for_best_model="eval_loss" if has_validation else None,
        greater_is_better=False if has_validation else None,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, steps // 200),
        include_num_input_tokens_seen="all",
        report_to="none",
        disable_tqdm=True,
        seed=spec.seed,
        data_seed=spec.seed,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        push_to_hub=False,
    )


def _lora_config(spec: TrainSpec) -> LoraConfig:
    named = spec.target_modules.split(",")
    return LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=named if len(named) > 1 else spec.target_modules,
        modules_to_save=["embed_tokens"] if spec.train_embeddings else None,
        ensure_weight_tying=spec.train_embeddings,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _last_whole_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, deleting torn ones.

    The trainer writes `trainer_state.json` last.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    for checkpoint in reversed(checkpoints):
        if _is_json(checkpoint / "trainer_state.json"):
            return str(checkpoint)
        shutil.rmtree(checkpoint)
    return None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _save_adapter(trainer: SFTTrainer, job: JobDir, spec: TrainSpec) -> Path:
    unfinished = job.scratch / "adapter"
    shutil.rmtree(unfinished, ignore_errors=True)
    student: Any = trainer.model
    student.save_pretrained(unfinished)
    config_path = unfinished / "adapter_config.json"
    config = json.loads(config_path.read_bytes())
    config["base_model_name_or_path"] = spec.base_model
    config["revision"] = spec.revision or None
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (unfinished / "README.md").unlink(missing_ok=True)
    for path in unfinished.iterdir():
        path.chmod(0o644)
    replace_folder(unfinished, job.files / "adapter")
    return job.files / "adapter"


def _figures(trainer: SFTTrainer, rows: Rows) -> dict[str, Any]:
    state = trainer.state
    losses = [entry for entry in state.log_history if "loss" in entry]
    last_epoch = [entry["loss"] for entry in losses if entry["epoch"] > losses[-1]["epoch"] - 1]
    student: Any = trainer.model
    parameters = list(student.parameters())
    return {
        "steps": state.global_step,
        "epochs_run": state.epoch,
        "best_step": state.best_global_step or state.global_step,
        "train_loss": sum(last_epoch) / len(last_epoch),
        "eval_loss": state.best_metric,
        "train_tokens": int(state.num_input_tokens_seen),
        "answer_tokens": sum(label != IGNORED for row in rows for label in row["labels"]),
        "parameters": sum(item.numel() for item in parameters),
        "trainable_parameters": sum(item.numel() for item in parameters if item.requires_grad),
        "dtype": str(next(iter(parameters)).dtype).removeprefix("torch."),
    }


if __name__ == "__main__":
    sys.exit(run_step(TrainSpec, train))
