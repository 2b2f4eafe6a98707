"""Score held-out chats whenever a checkpoint is written, and keep the best adapter."""

import json
import shutil
from pathlib import Path

from bitsandbytes.nn import Linear4bit
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from seqeval.metrics import f1_score
from transformers import PreTrainedTokenizerBase, TrainerCallback

from ner.files import read_json, replace_folder, write_atomically
from ner.model.generation import AnswerGenerator, find_shared_prefix
from ner.model.tokenizer import encode_prompt
from ner.text.conversion import tag_answer
from ner.text.prompts import find_prompt, get_answer_kind

BATCH_SIZE = 32
BEST = "best.json"


class ScoreValidation(TrainerCallback):
    """Generates answers for held-out chats, turns them into tags and computes seqeval's micro F1.

    The gold tags are those of the chats' own answers. `folder` holds the best adapter so far and
    its score.
    """

    def __init__(
        self,
        chats: list[list[dict]],
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: list[int],
        folder: Path,
    ):
        self.folder, self.tokenizer, self.end_tokens = folder, tokenizer, end_tokens
        self.prompts = [encode_prompt(chat[:-1], tokenizer) for chat in chats]
        self.sentences = [list(chat[-2]["content"]) for chat in chats]
        self.kinds = [get_answer_kind(find_prompt(chat[0]["content"])) for chat in chats]
        answers = [chat[-1]["content"] for chat in chats]
        self.gold = self.tag(answers)
        self.max_new_tokens = 2 * max(len(tokenizer(text)["input_ids"]) for text in answers)

    def tag(self, answers: list[str]) -> list[list[str]]:
        return [
            tag_answer(answer, sentence, kind)[0]
            for answer, sentence, kind in zip(answers, self.sentences, self.kinds, strict=True)
        ]

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0 and state.is_world_process_zero:
            shutil.rmtree(self.folder, ignore_errors=True)  # of another run

    def on_save(self, args, state, control, model=None, **kwargs):
        if not state.is_world_process_zero:
            return
        score = self.score(model)
        state.log_history.append({"step": state.global_step, "validation_f1": score})
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        state.save_to_json(str(checkpoint / "trainer_state.json"))
        print(f"validation: F1 {score:.4f} after step {state.global_step}")
        best = self.read_best()
        if best is None or score > best["f1"]:
            with replace_folder(self.folder, BEST) as part:
                model.save_pretrained(part, save_embedding_layers=False)
                record = {"step": state.global_step, "f1": score}
                write_atomically(part / BEST, json.dumps(record))

    def score(self, model: PeftModel) -> float:
        """Compute micro F1, then return the model to training mode."""
        model.eval()
        for module in model.modules():
            # In evaluation mode it would repack its weights for some CPUs, and then pass on no
            # gradient.
            if isinstance(module, Linear4bit):
                module.train()
        generator = AnswerGenerator(model, self.tokenizer, self.end_tokens)
        answers = generator.generate(
            dict(enumerate(self.prompts)),
            find_shared_prefix(self.prompts),
            BATCH_SIZE,
            self.max_new_tokens,
        )
        texts = [answer.text for answer in sorted(answers)]
        model.train()
        return f1_score(self.gold, self.tag(texts), zero_division=0)

    def read_best(self) -> dict | None:
        return read_json(self.folder / BEST)

    def restore_best(self, model: PeftModel) -> None:
        """Put the best adapter into the model."""
        best = self.read_best()
        set_peft_model_state_dict(model, load_file(self.folder / "adapter_model.safetensors"))
        print(f"best checkpoint on the validation chats: step {best['step']}, F1 {best['f1']:.4f}")
