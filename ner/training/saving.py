"""Save a trained adapter and check its tensors and its effect."""

import math
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from ner.files import replace_folder, write_json
from ner.model.adapter import RECORD
from ner.model.tensors import list_differing
from ner.training.trainer import ChatTrainer


def save_adapter(
    trainer: ChatTrainer, run: dict, folder: Path, min_confidence: float | None = None
) -> None:
    """Write adapter, tokenizer and `training.json`, check them, and then replace `folder`.

    `min_confidence` is the threshold that validation chose, if there was one.
    """
    with replace_folder(folder, "adapter_config.json") as part:
        trainer.model.save_pretrained(part)
        (part / "README.md").unlink(missing_ok=True)  # PEFT's blank model card
        trainer.processing_class.save_pretrained(part)
        record = run | {"steps": trainer.state.global_step, "log": trainer.state.log_history}
        if min_confidence is not None:
            record["min_confidence"] = min_confidence
        write_json(part / RECORD, record)
        check_adapter(trainer.model, part, trainer.train_dataset[0])
    print(f"saved: {folder}")


def check_adapter(model: PeftModel, folder: Path, row: dict) -> None:
    """Read an adapter back. Raises RuntimeError if it is empty, wrong or without effect.

    `row` is an encoded training chat, scored with and without the adapter on the one copy of the
    base in memory. The saved tensors are bit-for-bit identical to the model's, so the effect is
    also theirs.
    """
    trained = get_peft_model_state_dict(model, save_embedding_layers=False)
    saved = load_file(folder / "adapter_model.safetensors")
    compare_tensors(trained, saved)
    model.eval()
    with model.disable_adapter():
        before = score_answer(model, row)
    after = score_answer(model, row)
    if after == before or math.isnan(after):
        raise RuntimeError(
            "the adapter does not change the model's answer (log-probability "
            f"{before:.4f} without it, {after:.4f} with it)"
        )
    print(
        f"adapter: {len(saved)} tensors, read back as trained; mean log-probability of a training "
        f"answer's tokens: {before:.3f} without the adapter, {after:.3f} with it"
    )


def compare_tensors(trained: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """Check that an adapter is trained and that its saved tensors equal the trained ones.

    Raises RuntimeError.
    """
    untrained = [name for name, tensor in trained.items() if "lora_B" in name and not tensor.any()]
    if not saved or untrained:
        raise RuntimeError(
            f"the adapter is empty: {len(saved)} tensors, of which untrained: {untrained[:3]}"
        )
    if different := list_differing(saved, trained):
        raise RuntimeError(
            f"{len(different)} saved tensors are not the trained ones, such as {different[0]}"
        )


def score_answer(model: PreTrainedModel, row: dict) -> float:
    """Mean log-probability of the tokens under the loss."""
    input_ids = torch.tensor([row["input_ids"]], device=model.device)
    labels = torch.tensor([row["labels"]], device=model.device)
    with torch.inference_mode():
        return -model(input_ids=input_ids, labels=labels).loss.item()
