"""A task: the labels to find, the system prompt that asks for them, and the kind of answer."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ner.cli import InputError
from ner.text.klue import LABELS
from ner.text.labels import check_labels
from ner.text.prompts import STRICT, SYSTEM_PROMPTS, write_system_prompt

OWN = "file"  # the name of a system prompt from --prompt_file


class Task(NamedTuple):
    """A model's labels, prompt and kind of answer. The default is KLUE's and the post's first."""

    labels: Mapping[str, str] = LABELS  # descriptions by name, in the prompt's order
    prompt: str = "basic"  # the system prompt's name
    system_prompt: str = SYSTEM_PROMPTS["basic"]
    kind: str = "json"  # of the answers, or "marked"

    @property
    def record(self) -> dict:
        """The task as JSON, for `read_task`. For KLUE's labels it is the prompt's name alone."""
        record: dict = {"prompt": self.prompt}
        if not is_klue(self.labels):
            record["labels"] = dict(self.labels)
        if self.prompt == OWN:
            record |= {"system_prompt": self.system_prompt, "answer": self.kind}
        return record


KLUE_TASK = Task()


def build_task(prompt: str = "basic", labels: Mapping[str, str] = LABELS) -> Task:
    """The task with one of our system prompts. Raises InputError for labels it cannot ask for."""
    check_labels(labels, "labels")
    kind = "marked" if prompt == "marked" else "json"
    if prompt != "strict":
        return Task(labels, prompt, write_system_prompt(prompt, labels), kind)
    if not is_klue(labels):
        raise InputError(
            "--prompt strict is about KLUE's labels, but these are "
            f"{', '.join(labels)}. Leave it out, or write your own with --prompt_file"
        )
    return Task(labels, prompt, STRICT, kind)


def build_own_task(system_prompt: str, kind: str, labels: Mapping[str, str] = LABELS) -> Task:
    """The task with a system prompt of one's own."""
    check_labels(labels, "labels")
    return Task(labels, OWN, system_prompt, kind)


def choose_task(
    recorded: Task | None,
    labels: Mapping[str, str],
    prompt: str | None,
    prompt_file: Path | None = None,
    kind: str | None = None,
) -> Task:
    """The task to set a model: the recorded one, unless another system prompt is requested.

    `prompt` is the name of one of ours, and `prompt_file` has one of the user's own, which asks for
    answers of this `kind` (by default as recorded, or else JSON). `labels` are those to ask for if
    no task is recorded. Raises InputError.
    """
    if recorded:
        labels = recorded.labels
    if prompt_file:
        kind = kind or (recorded.kind if recorded else "json")
        return build_own_task(read_prompt_file(prompt_file), kind, labels)
    if recorded and prompt in (None, recorded.prompt):
        return recorded
    return build_task(prompt or "basic", labels)


def read_prompt_file(path: Path) -> str:
    """A system prompt of the user's own, without white space around it. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--prompt_file {path}: cannot be read as UTF-8 ({error})") from None
    if not text:
        raise InputError(f"--prompt_file {path}: is empty. Write the system prompt into it")
    return text


def read_task(record: dict) -> Task | None:
    """A task from its record, which may have other fields. None if the prompt is not known.

    Raises InputError for labels that cannot be used.
    """
    labels, prompt = record.get("labels", LABELS), record.get("prompt")
    text, kind = record.get("system_prompt"), record.get("answer")
    if not isinstance(labels, Mapping) or not all(
        isinstance(each, str) for pair in labels.items() for each in pair
    ):
        raise InputError(f"labels: expected descriptions by name, found {str(labels)[:100]}")
    if prompt == OWN and isinstance(text, str) and kind in ("json", "marked"):
        return build_own_task(text, kind, labels)
    return build_task(prompt, labels) if prompt in list(SYSTEM_PROMPTS) else None


def is_klue(labels: Mapping[str, str]) -> bool:
    """Whether labels are KLUE's, with its descriptions and in its order."""
    return list(labels.items()) == list(LABELS.items())


def check_marked(task: Task, flag: str) -> None:
    """Check that a task asks for marked answers, which `flag` is for. Raises InputError."""
    if task.kind != "marked":
        raise InputError(
            f"{flag} is for marked answers, but the prompt {task.prompt} asks for JSON. Add "
            f"--prompt marked if the model was trained with it, or leave out {flag}"
        )


def check_data_labels(task: Task, labels: Iterable[str], dataset: str) -> None:
    """Check that a data set has no labels that a task does not ask for. Raises InputError."""
    if unknown := [label for label in labels if label not in task.labels]:
        raise InputError(
            f"{dataset} has labels that the model was not trained for: {', '.join(unknown)}. It "
            f"was trained for {', '.join(task.labels)}. Choose another data set or another adapter"
        )
