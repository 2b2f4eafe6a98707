"""Check that a model computes packed and padded chats alike."""

import torch
from accelerate.utils import send_to_device
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from ner.model.device import is_out_of_memory
from ner.training.encoding import IGNORED
from ner.training.packing import pack_chats, refuse_packing
from ner.training.trainer import ChatTrainer

# In nats per token. Rounding causes differences of 0.03 on a Gemma 3 in 4-bit, and more where
# logits are larger. A mask that lets chats see each other causes 1.6.
TOLERANCE = 0.3


def check_packing(trainer: ChatTrainer) -> None:
    """Check that a model gives the two longest chats the same probabilities, packed and padded.

    Raises InputError if not: a layer may bring its own mask, or not pass on `chat_slots`.
    """
    name = trainer.model.config.name_or_path
    rows = sorted(trainer.train_dataset, key=lambda row: len(row["input_ids"]))[-2:]
    trainer.model.train()  # for Linear4bit, see ScoreValidation.answer
    collate = DataCollatorForLanguageModeling(trainer.processing_class.pad_token_id)
    padded = score_labels(trainer, collate(rows), rows)
    try:
        packed = score_labels(trainer, pack_chats(rows), rows)
        difference = max(
            (one - other).abs().mean().item() for one, other in zip(padded, packed, strict=True)
        )
    except (RuntimeError, TypeError, ValueError) as error:
        # A fault of the card says nothing about the model.
        if isinstance(error, torch.AcceleratorError) or is_out_of_memory(error):
            raise
        raise refuse_packing(name, str(error).partition("\n")[0]) from error
    if not difference < TOLERANCE:
        raise refuse_packing(name, f"{difference:.3f} nats per token apart")


def score_labels(trainer: ChatTrainer, batch: dict, rows: list[dict]) -> tuple[torch.Tensor, ...]:
    """The base model's log-probabilities of the tokens under the loss, one tensor per chat."""
    with torch.no_grad(), trainer.model.disable_adapter():
        # TRL's own head, which holds no logits.
        output = trainer.model(**send_to_device(batch, trainer.model.device), fused_lm_head=True)
    lengths = [sum(label != IGNORED for label in row["labels"]) for row in rows]
    return output.log_probs[output.label_mask].float().split(lengths)
