"""Score held-out chats whenever a checkpoint is written, and keep the best adapter."""

import json
import shutil
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from bitsandbytes.nn import Linear4bit
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from seqeval.metrics import f1_score
from transformers import PreTrainedTokenizerBase, TrainerCallback

from ner.files import read_json, replace_folder, write_atomically
from ner.model.generation import AnswerGenerator, find_shared_prefix
from ner.model.tokenizer import encode_prompt
from ner.text.answers import Answer
from ner.text.confidence import choose_threshold, list_confidences
from ner.text.continuation import DRAFT
from ner.text.conversion import tag_answer
from ner.text.tags import find_entities
from ner.text.task import Task
from ner.training.validation_scores import SCORES, write_scores

BATCH_SIZE = 32
BEST = "best.json"


class Validation(NamedTuple):
    """The scores of a model's answers to the held-out chats."""

    f1: float
    min_confidence: float  # the threshold with the best F1
    counts: list[list[int]]  # right, predicted and gold entities of each chat


def count_entities(gold: list[tuple], predicted: list[tuple]) -> list[int]:
    """The right, predicted and gold entities of a sentence."""
    return [len(set(gold) & set(predicted)), len(predicted), len(gold)]


def average_loss(log: list[dict]) -> float | None:
    """The mean of the losses that were logged since the last validation, if there are any."""
    recent = takewhile(lambda line: "validation_f1" not in line, reversed(log))
    losses = [line["loss"] for line in recent if "loss" in line]
    return fmean(losses) if losses else None


class ScoreValidation(TrainerCallback):
    """Generates answers for held-out chats, turns them into tags and computes seqeval's micro F1.

    It also chooses the confidence threshold with the best F1. The gold tags are those of the
    chats' own answers. `task` is that of all chats. `folder` holds the best adapter so far, its
    score and its threshold. The scores of all checkpoints are kept beside them, see `write_scores`.
    """

    def __init__(
        self,
        chats: list[list[dict]],
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: list[int],
        folder: Path,
    ):
        self.task, self.folder = task, folder
        self.tokenizer, self.end_tokens = tokenizer, end_tokens
        self.prompts = [encode_prompt(chat[:-1], tokenizer) for chat in chats]
        self.sentences = [chat[-2]["content"] for chat in chats]
        texts = [chat[-1]["content"] for chat in chats]
        answers = [Answer(index, text, True) for index, text in enumerate(texts)]
        self.gold = [self.tag(answer)[0] for answer in answers]
        self.max_new_tokens = 2 * max(len(tokenizer(text)["input_ids"]) for text in texts)

    def tag(self, answer: Answer) -> tuple[list[str], dict]:
        sentence = list(self.sentences[answer.index])
        labels = self.task.labels
        return tag_answer(answer.text, sentence, self.task.kind, answer.pieces, labels=labels)

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0 and state.is_world_process_zero:
            for folder in (self.folder, Path(args.output_dir) / SCORES):
                shutil.rmtree(folder, ignore_errors=True)  # of another run

    def on_save(self, args, state, control, model=None, **kwargs):
        if not state.is_world_process_zero:
            return
        f1, threshold, counts = self.score(model)
        position = {"step": state.global_step, "epoch": state.epoch}
        loss = average_loss(state.log_history)
        write_scores(Path(args.output_dir), position | {"loss": loss, "f1": f1, "counts": counts})
        state.log_history.append({"step": state.global_step, "validation_f1": f1})
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        state.save_to_json(str(checkpoint / "trainer_state.json"))
        print(
            f"validation: F1 {f1:.4f} after step {state.global_step}, best threshold "
            f"{threshold:.4f}"
        )
        best = self.read_best()
        if best is None or f1 > best["f1"]:
            with replace_folder(self.folder, BEST) as part:
                model.save_pretrained(part)
                record = {"step": state.global_step, "f1": f1, "min_confidence": threshold}
                write_atomically(part / BEST, json.dumps(record))

    def answer(self, model: PeftModel) -> list[Answer]:
        """Answer the chats in their order, then return the model to training mode.

        Marked answers are exact copies, as in evaluation.
        """
        model.eval()
        for module in model.modules():
            # In evaluation mode it would repack its weights for some CPUs, and then pass on no
            # gradient.
            if isinstance(module, Linear4bit):
                module.train()
        generator = AnswerGenerator(
            model, self.tokenizer, self.end_tokens, DRAFT, constrain=True, labels=self.task.labels
        )
        copied = dict(enumerate(self.sentences)) if self.task.kind == "marked" else {}
        answers = generator.generate(
            dict(enumerate(self.prompts)),
            find_shared_prefix(self.prompts),
            BATCH_SIZE,
            self.max_new_tokens,
            copied,
        )
        answers = sorted(answers)
        model.train()
        return answers

    def score(self, model: PeftModel) -> Validation:
        """Score the model's answers."""
        tagged = [self.tag(answer) for answer in self.answer(model)]
        f1 = f1_score(self.gold, [tags for tags, _ in tagged], zero_division=0)
        gold = [find_entities(tags) for tags in self.gold]
        entities = [
            entity
            for sentence, (tags, diagnosis), expected in zip(
                self.sentences, tagged, gold, strict=True
            )
            for entity in list_confidences(tags, diagnosis, sentence, expected)
        ]
        threshold = choose_threshold(entities, sum(map(len, gold)))
        predicted = [find_entities(tags) for tags, _ in tagged]
        return Validation(f1, threshold, list(map(count_entities, gold, predicted)))

    def read_best(self) -> dict | None:
        return read_json(self.folder / BEST)

    def restore_best(self, model: PeftModel) -> dict:
        """Put the best adapter into the model. Returns `step`, `f1` and `min_confidence`."""
        best = self.read_best()
        set_peft_model_state_dict(model, load_file(self.folder / "adapter_model.safetensors"))
        print(f"best checkpoint on the validation chats: step {best['step']}, F1 {best['f1']:.4f}")
        return best
