"""Step 1: turn KLUE-NER into training chats, and answers back into tags.

Reads KLUE-NER from the Hugging Face Hub, or another corpus, with labels of its own, in one of the
forms that docs/training.md lists. KLUE's notation has one sentence per line:

    <손흥민:PS>은 <춘천:LC>에서 태어났다.

Writes `data/train.jsonl`, one chat per line (system prompt, sentence, answer), and
`data/train.source.json`, which records the source of the chats.

    python data_processing.py
    python data_processing.py --dataset data/shop
    python data_processing.py --answer marked        learn to mark the names in the sentence
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ner.cli import InputError, add_corpus_flags, build_parser, positive_int, run_script
from ner.files import check_writable
from ner.text.chats import write_chats
from ner.text.conversion import tag_answer, write_gold_answer
from ner.text.klue import KLUE, LABELS
from ner.text.prompts import JSON_PROMPTS, build_prompt
from ner.text.task import KLUE_TASK, Task, choose_task

if TYPE_CHECKING:
    from datasets import Dataset


def bio_to_json(
    tokens: Sequence[str], tags: Sequence[int], id2label: dict[int, str]
) -> tuple[str, str]:
    """Turn a tagged sentence into the text a model reads and the answer it learns to write.

    The answer is a JSON object from label to mentions, as they are in the sentence and in the
    sentence's order. Raises ValueError if tokens and tags differ in number, or if a tag is not in
    `id2label`.

    >>> bio_to_json(list("손흥민은"), [6, 7, 7, 12], id2label)
    ('손흥민은', '{"PS": ["손흥민"]}')
    """
    return "".join(tokens), write_gold_answer(tokens, name_tags(tokens, tags, id2label))


def json_to_bio(
    json_str: str, tokens: Sequence[str], labels: Mapping[str, str] = LABELS
) -> list[str]:
    """Tag `tokens` with a model's answer: one IOB2 tag per token, well-formed for any string.

    `labels` are descriptions by name, and an answer may use either.

    >>> json_to_bio('{"PS": ["손흥민"]}', list("손흥민은"))
    ['B-PS', 'I-PS', 'I-PS', 'O']
    """
    tags, _ = tag_answer(json_str, tokens, labels=labels)
    return tags


def bio_to_marked(
    tokens: Sequence[str], tags: Sequence[int], id2label: dict[int, str]
) -> tuple[str, str]:
    """Turn a tagged sentence into the text a model reads and the same text with its names marked.

    Raises ValueError like `bio_to_json`.

    >>> bio_to_marked(list("손흥민은"), [6, 7, 7, 12], id2label)
    ('손흥민은', '<손흥민:PS>은')
    """
    return "".join(tokens), write_gold_answer(tokens, name_tags(tokens, tags, id2label), "marked")


def marked_to_bio(
    answer: str, tokens: Sequence[str], labels: Mapping[str, str] = LABELS
) -> list[str]:
    """Tag `tokens` with a marked answer, as `json_to_bio` does with a JSON answer.

    >>> marked_to_bio("<손흥민:PS>은", list("손흥민은"))
    ['B-PS', 'I-PS', 'I-PS', 'O']
    """
    tags, _ = tag_answer(answer, tokens, "marked", labels=labels)
    return tags


def name_tags(tokens: Sequence[str], tags: Sequence[int], id2label: dict[int, str]) -> list[str]:
    """The names of tag ids. Raises ValueError if they do not match the tokens or `id2label`."""
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} tags: each token needs one tag")
    if unknown := sorted(set(tags) - set(id2label)):
        raise ValueError(f"tags {unknown} are not among the ids {sorted(id2label)} of id2label")
    return [id2label[tag] for tag in tags]


def create_chat_dataset(
    split: "Dataset", id2label: dict[int, str], task: Task = KLUE_TASK
) -> list[dict]:
    """Make one chat per sentence: `{"messages": [system, user, assistant]}`.

    Prints how many sentences cannot be restored exactly from their own answer: a JSON answer does
    not say where its mentions are. Raises InputError, with the row, if tokens and tags do not
    match.
    """
    write, restore = CONVERTERS[task.kind]
    chats, inexact = [], []
    for row, item in enumerate(tqdm(split, desc="chats", unit="sentence")):
        tokens = item["tokens"]
        try:
            sentence, reply = write(tokens, item["ner_tags"], id2label)
        except ValueError as error:
            raise InputError(f"row {row} ({''.join(tokens)[:40]}…): {error}") from None
        messages = build_prompt(sentence, task.system_prompt)
        chats.append({"messages": [*messages, {"role": "assistant", "content": reply}]})
        if restore(reply, tokens, task.labels) != [id2label[tag] for tag in item["ner_tags"]]:
            inexact.append(str(row))
    print(
        f"round trip: {len(inexact):,} of {len(chats):,} sentences are not restored exactly "
        f"from their own answer{list_first(inexact)}"
    )
    return chats


CONVERTERS = {
    "json": (bio_to_json, json_to_bio),
    "marked": (bio_to_marked, marked_to_bio),
}


def list_first(rows: list[str], limit: int = 20) -> str:
    """The first few row numbers, for the end of a line."""
    if not rows:
        return ""
    more = ", …" if len(rows) > limit else ""
    return f": rows {', '.join(rows[:limit])}{more}"


def preprocessing_data(
    dataset: str = KLUE,
    output: str | Path = "data/train.jsonl",
    prompt: str = "basic",
    num_samples: int | None = None,
    seed: int = 42,
    answer: str = "json",
    prompt_file: Path | None = None,
    labels: Sequence[str] | None = None,
    join: str = "auto",
) -> None:
    """Write the train split as chats to `output`, atomically.

    `labels` are the tags' names by id, for a data set whose tags are plain numbers. `join` is
    whether tokens are "characters" or "words".

    Beside it, `train.source.json` records the data set, its revision, the task and the SHA-256 of
    the chats.
    """
    output = Path(output)
    check_writable(output)
    # Imported here, because `--help` and a wrong path should not wait for it.
    from ner.text.corpus import (
        describe_overlap,
        find_revision,
        get_id2label,
        get_labels,
        load_split,
        sample_rows,
    )

    rows = sample_rows(load_split(dataset, "train", labels, join), num_samples, seed)
    id2label = get_id2label(rows)
    prompt = "marked" if answer == "marked" else prompt
    task = choose_task(None, get_labels(rows, dataset), prompt, prompt_file, answer)
    chats = create_chat_dataset(rows, id2label, task)
    source = {
        "dataset": dataset,
        "split": "train",
        "revision": find_revision(rows),
        **task.record,
        "num_samples": num_samples,
        "seed": seed,
    }
    write_chats(output, chats, source)

    tags = [id2label[tag] for row in rows["ner_tags"] for tag in row]
    counts = Counter(tag.removeprefix("B-") for tag in tags if tag.startswith("B-"))
    print(json.dumps(chats[0], ensure_ascii=False, indent=4))
    print("entities:", ", ".join(f"{label} {counts[label]:,}" for label in task.labels))
    print(describe_overlap(rows, dataset, labels, join))
    print(f"{output}: {len(chats):,} chats")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--dataset",
        default=KLUE,
        metavar="ID_OR_FOLDER",
        help="data set on the hub, or a local folder",
    )
    add_corpus_flags(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data/train.jsonl"),
        metavar="FILE",
        help="where to write the chats",
    )
    parser.add_argument(
        "--answer",
        choices=CONVERTERS,
        default="json",
        help="kind of answer to learn: names by label in JSON, as in the post, or the sentence "
        "again with its names marked, which has a prompt of its own",
    )
    parser.add_argument(
        "--prompt",
        choices=JSON_PROMPTS,
        default="basic",
        help="which of the post's two system prompts to use",
    )
    parser.add_argument(
        "--num_samples",
        type=positive_int,
        metavar="N",
        help="use only N sentences, drawn with --seed (default: all)",
    )
    parser.add_argument("--seed", type=int, default=42, help="seed of the sample")
    parser.add_argument(
        "--prompt_file",
        type=Path,
        metavar="FILE",
        help="a system prompt of your own, which asks for the kind of answer of --answer",
    )
    args = parser.parse_args(argv)
    if args.prompt_file and args.prompt != "basic":
        parser.error("--prompt and --prompt_file exclude each other")
    if args.answer == "marked" and args.prompt != "basic":
        parser.error(f"--prompt {args.prompt} asks for JSON: leave it out or use --answer json")
    return args


def main(argv: list[str] | None = None) -> None:
    preprocessing_data(**vars(parse_args(argv)))


if __name__ == "__main__":
    run_script(main)
