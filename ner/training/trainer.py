"""TRL's trainer with packed batches, an order of chats that can be resumed, and a watched loss."""

import functools
from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerState,
)
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig, SFTTrainer

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.lora import read_adapter
from ner.model.process import get_process
from ner.training.checkpoint_hashes import HashCheckpoint
from ner.training.loss_watch import LossWatch
from ner.training.packing import pack_chats, use_packed_attention
from ner.training.run import TARGETS, TrainingSettings, split_batch


class EpochOrder(torch.utils.data.Sampler):
    """The order of the chats, which follows from seed and epoch alone.

    Transformers' own sampler draws from the global generator, which dropout has advanced by the
    second epoch. A run resumed there would get other batches than an unbroken one.
    """

    def __init__(self, lengths: list[int], group_size: int | None, seed: int):
        self.lengths, self.group_size, self.seed, self.epoch = lengths, group_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.group_size is None:
            return iter(torch.randperm(len(self.lengths), generator=generator).tolist())
        indices = get_length_grouped_indices(self.lengths, self.group_size, generator=generator)
        return iter(indices)


class ChatTrainer(SFTTrainer):
    """TRL's trainer with our order of chats, packed batches and a watched loss."""

    def __init__(self, *args, group_by_length: bool, warn: bool, **kwargs):
        self.group_by_length = group_by_length
        self.loss_watch = LossWatch(warn)
        super().__init__(*args, **kwargs)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.loss_watch.add(loss)
        if self.accelerator.sync_gradients:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            warmup = self.args.get_warmup_steps(self.state.max_steps)
            self.loss_watch.end_step(gradients, self.state.global_step, warmup)
        return loss

    def compute_loss(self, model, inputs, **kwargs):
        if "chat_slots" in inputs:
            # Bound to the model, because TRL would count the pairs of this mask as tokens.
            model = functools.partial(model, attention_mask=inputs.pop("attention_mask"))
        return super().compute_loss(model, inputs, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochOrder:
        lengths = [len(input_ids) for input_ids in self.train_dataset["input_ids"]]
        config = self.args
        step = config.train_batch_size * config.gradient_accumulation_steps * config.world_size
        group_size = step if self.group_by_length else None
        self.order = EpochOrder(lengths, group_size, config.seed)
        return self.order

    def _run_epoch(self, *, epoch, **kwargs):
        # In a run resumed within an epoch, Accelerate does not reach the sampler itself.
        self.order.set_epoch(epoch)
        super()._run_epoch(epoch=epoch, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if not checkpoint:
            return
        # Paged states load into ordinary memory. Without `is_paged`, bitsandbytes does not try to
        # prefetch them.
        for state in self.optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    vars(value).pop("is_paged", None)


def build_config(settings: TrainingSettings) -> SFTConfig:
    """The recipe as an SFTConfig. Raises InputError if TRL rejects a setting."""
    batch_size, accumulation = split_batch(
        settings.batch_size, settings.gradient_accumulation, get_process().num_processes
    )
    try:
        return SFTConfig(
            output_dir=str(settings.checkpoint_dir),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            ddp_find_unused_parameters=False,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.lr_scheduler,
            warmup_steps=settings.warmup,
            num_train_epochs=settings.epochs,
            max_steps=settings.max_steps,
            optim=settings.optim,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            bf16=settings.precision != "float32",
            activation_checkpointing=settings.activation_checkpointing,
            activation_checkpointing_kwargs={"every_n_layers": settings.checkpoint_every},
            use_cpu=not torch.cuda.is_available(),
            max_length=None,  # encode_chats has left out longer chats
            save_steps=settings.save_steps,
            save_total_limit=2,
            logging_steps=settings.logging_steps,
            logging_nan_inf_filter=False,  # a loss that is not a number should be seen
            report_to="tensorboard",
            seed=settings.seed,
        )
    except ValueError as error:
        raise InputError(f"TRL rejects a setting: {error}") from error


def build_lora(settings: TrainingSettings, base: Base) -> LoraConfig:
    """A new adapter as a LoraConfig."""
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=TARGETS[settings.lora_targets],
        bias="none",
        task_type="CAUSAL_LM",
        revision=base.revision,
    )


def prepare_lora(
    settings: TrainingSettings, base: Base, adapter: Path | None, model_type: str
) -> tuple[LoraConfig, dict[str, torch.Tensor] | None]:
    """A new adapter, or the one to train further and its tensors."""
    if adapter is None:
        return build_lora(settings, base), None
    lora, tensors = read_adapter(adapter, model_type)
    lora.revision = base.revision
    return lora, tensors


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    settings: TrainingSettings,
    config: SFTConfig,
    lora: LoraConfig,
    callbacks: list[TrainerCallback] | None = None,
) -> ChatTrainer:
    """A trainer over an untrained LoRA on the projections of `model`.

    The callbacks run before a checkpoint's files are hashed.
    """
    if settings.pack:
        use_packed_attention(model)
    trainer = ChatTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=pack_chats if settings.pack else None,
        peft_config=lora,
        callbacks=[*(callbacks or []), HashCheckpoint()],
        group_by_length=settings.group_by_length,
        warn=settings.adapter == "none",  # the loss of a trained adapter need not fall
    )
    # TRL keeps a 4-bit model's adapter in bfloat16, but a resumed run loads it as float32, and the
    # two would drift apart. If both use float32, they are bitwise identical.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    # With "auto", PEFT asks the hub for the base's configuration at every checkpoint.
    save = trainer.model.save_pretrained
    trainer.model.save_pretrained = functools.partial(save, save_embedding_layers=False)
    return trainer


def run_training(trainer: ChatTrainer, checkpoint: Path | None) -> None:
    """Train to the end, from a checkpoint if there is one."""
    if checkpoint:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            # The last step's checkpoint is the result. Trainer would train on.
            tensors = load_file(checkpoint / "adapter_model.safetensors")
            set_peft_model_state_dict(trainer.model, tensors)
            trainer.state = state
            return
    try:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("continue from the last checkpoint with --resume") from None
