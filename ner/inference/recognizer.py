"""A model on this machine that finds the named entities of sentences."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from ner.cli import InputError
from ner.model.adapter import read_adapter_config, read_precision
from ner.model.device import check_device
from ner.model.generation import AnswerGenerator, find_shared_prefix
from ner.model.gpu import check_card
from ner.model.hub import Base, download_base, find_base
from ner.model.loading import build_empty, load_config
from ner.model.lora import load_recognizer
from ner.model.names import EXAONE
from ner.model.tensors import hash_adapter
from ner.model.tokenizer import encode_prompt, find_end_tokens, load_tokenizer
from ner.text.answers import DEFAULT_MAX_NEW_TOKENS, Answer
from ner.text.continuation import DRAFT
from ner.text.conversion import write_gold_answer
from ner.text.corpus import Join, get_id2label, load_split
from ner.text.prompts import build_prompt
from ner.text.task import Task, check_marked

# Sentences added to the user's when looking for the prefix that all prompts share. Without them,
# it would include words that all of the user's sentences begin with.
PROBES = ("가", "A")


class LocalRecognizer:
    """A base model with its adapter, if it has one. Loads the weights for the first answer.

    `adapter` is the adapter's folder, `adapter_name` the name that the user gave. Without
    `precision`, it is that of the adapter's training. The training answers of `dataset`, read with
    `tag_names` and `join`, decide `max_new_tokens` if it is not given. Marked answers are held to
    exact copies of their sentences unless `constrain` is false, and `draft` tokens of the copy are
    tried in each call of the model. Raises InputError, before the download, if this machine cannot
    run or hold the model or if JSON answers are to be constrained.
    """

    def __init__(
        self,
        base: Base,
        precision: str | None,
        adapter: Path | None,
        adapter_name: str,
        task: Task,
        batch_size: int | None = None,
        max_new_tokens: int | None = None,
        dataset: str | None = None,
        tag_names: Sequence[str] | None = None,
        join: Join = "auto",
        constrain: bool | None = None,
        draft: int | None = None,
    ):
        precision = precision or read_precision(adapter)
        check_card(precision, emulate=True)
        self.base, self.precision = base, precision
        self.adapter, self.adapter_name = adapter, adapter_name
        self.task = task
        self.copies = task.kind == "marked"
        if constrain:
            check_marked(task, "--constrain")
        self.constrain = self.copies if constrain is None else constrain
        self.draft = DRAFT if draft is None else draft
        self.batch_size = batch_size or (64 if torch.cuda.is_available() else 16)
        # A batch's keys and values: 0.13 GB per sentence of 1,024 tokens in EXAONE 3. A batch that
        # does not fit is halved, so a small one is enough to begin with.
        working_bytes = 1e9 + 0.2e9 * min(self.batch_size, 16)
        check_device(base.name, build_empty(load_config(base)), precision, working_bytes)
        self.tokenizer = load_tokenizer(base)
        self.max_new_tokens = max_new_tokens or choose_max_new_tokens(
            self.tokenizer, dataset, task.kind, tag_names, join
        )

    @property
    def settings(self) -> dict:
        """Everything the answers depend on."""
        settings = {
            "model": self.base.name,
            "revision": self.base.revision,
            "adapter": self.adapter_name,
            "adapter_sha256": hash_adapter(self.adapter) if self.adapter else None,
            "precision": self.precision,
            **self.task.record,
            "max_new_tokens": self.max_new_tokens,
        }
        return settings | {"constrain": self.constrain} if self.copies else settings

    def encode_prompt(self, sentence: str) -> list[int]:
        """Token ids of a sentence's chat, up to where the answer begins."""
        messages = build_prompt(sentence, self.task.system_prompt)
        return encode_prompt(messages, self.tokenizer)

    def find_prefix(self, prompts: list[list[int]]) -> list[int]:
        """The tokens of the system prompt, which all prompts begin with."""
        return find_shared_prefix([*prompts, *map(self.encode_prompt, PROBES)])

    def answer(self, sentences: dict[int, str]) -> Iterator[Answer]:
        """Yield answers by the sentences' indices as they are completed."""
        prompts = {index: self.encode_prompt(text) for index, text in sentences.items()}
        prefix = self.find_prefix(list(prompts.values()))
        return self.generator.generate(
            prompts, prefix, self.batch_size, self.max_new_tokens, sentences if self.copies else {}
        )

    @cached_property
    def generator(self) -> AnswerGenerator:
        """The model, loaded for the first answer and kept for all others."""
        return self.load_generator()

    def load_generator(self, kind: type[AnswerGenerator] = AnswerGenerator) -> AnswerGenerator:
        """Download and load the weights."""
        download_base(self.base)
        model = load_recognizer(self.base, self.precision, self.adapter)
        end_tokens = find_end_tokens(self.base, self.tokenizer)
        return kind(model, self.tokenizer, end_tokens, self.draft, self.constrain, self.task.labels)


def find_recognizer_base(
    adapter: Path | None, adapter_name: str, model: str | None, revision: str | None
) -> Base:
    """The base model to use: the one asked for, the adapter's own, or EXAONE."""
    if adapter is None:
        return find_base(model or EXAONE, revision)
    config = read_adapter_config(adapter)
    trained_on = config["base_model_name_or_path"]
    if model is None:
        return find_base(trained_on, revision or config.get("revision"))
    if model != trained_on:
        print(f"note: {adapter_name} was trained on {trained_on}, and is used on {model} here")
    return find_base(model, revision)


def choose_max_new_tokens(
    tokenizer: PreTrainedTokenizerBase,
    dataset: str | None,
    kind: str = "json",
    tag_names: Sequence[str] | None = None,
    join: Join = "auto",
) -> int:
    """Twice the longest training answer, enough for a fence and line breaks around it.

    512 if there is no data set or it has no train split. `tag_names` and `join` are those of
    `load_split`.
    """
    if dataset is None:
        return DEFAULT_MAX_NEW_TOKENS
    try:
        rows = load_split(dataset, "train", tag_names, join)
    except InputError:
        return DEFAULT_MAX_NEW_TOKENS
    id2label = get_id2label(rows)
    answers = set()
    for row in rows:
        tags = [id2label[tag] for tag in row["ner_tags"]]
        answers.add(write_gold_answer(row["tokens"], tags, kind))
    encoded = tokenizer(sorted(answers), add_special_tokens=False)["input_ids"]
    return 2 * max(len(input_ids) for input_ids in encoded)
