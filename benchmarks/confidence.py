"""Compare ways to measure the confidence of an entity.

Each measure puts together the probabilities of the tokens that wrote the entity: the first one
alone, the lowest, their geometric mean, or their product. Reads predictions files with `pieces`.
Prints, for each file and measure, how often a right entity has a higher confidence than a wrong one
(AUROC), and the expected calibration error.

    python -m benchmarks.confidence evaluation/predictions.jsonl
    python -m benchmarks.confidence evaluation/predictions.jsonl --after_mask

The probabilities in a file are those among all tokens, before the grammar's mask. With
--after_mask, the model reads the marked answers once more, and the probabilities among the tokens
that the grammar allows are compared too.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ner.cli import InputError, build_parser, run_script
from ner.evaluation.predictions import find_task
from ner.text.confidence import find_mentions, select_logprobs

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ner.inference.recognizer import LocalRecognizer
    from ner.model.copying import Copy

MEASURES: dict[str, Callable[[list[float]], float]] = {  # of the logarithms of probabilities
    "opening token": lambda logprobs: logprobs[0],
    "minimum": min,
    "mean": fmean,
    "product": sum,
}
HEADER = (
    "| predictions | probability among | measure | entities | AUROC | calibration error |\n"
    "|---|---|---|---|---|---|"
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "predictions", type=Path, nargs="+", metavar="FILE", help="files of evaluate_hub.py"
    )
    parser.add_argument(
        "--after_mask",
        action="store_true",
        help="compute the probabilities after the grammar's mask too",
    )
    return parser.parse_args(argv)


def list_entities(rows: list[dict]) -> list[tuple[list[float], bool]]:
    """The log-probabilities of each tagged entity, and whether it is right.

    An occurrence that the answer does not list has those of the first mention with its text.
    """
    from ner.evaluation.counts import list_entities as list_gold  # takes a second

    entities = []
    for row in rows:
        gold, diagnosis = list_gold(row["gold"]), row["diagnosis"]
        spans = {
            (mention["label"], mention["text"]): mention["answer_span"]
            for mention in reversed(diagnosis["mentions"])
        }
        for entity, mention in find_mentions(row["tags"], diagnosis, row["tokens"]):
            span = mention.get("answer_span") or spans[mention["label"], mention["text"]]
            entities.append((select_logprobs(row["pieces"], *span), entity in gold))
    return entities


def format_rows(path: Path, name: str, rows: list[dict]) -> Iterator[str]:
    """The table's rows for the probabilities of a file. `name` says which."""
    from sklearn.metrics import roc_auc_score

    from ner.evaluation.confidence import calibrate

    entities = list_entities(rows)
    right = [is_right for _, is_right in entities]
    if len(set(right)) < 2:
        raise InputError(f"{path}: needs right and wrong entities, and has only one kind of them")
    for measure, combine in MEASURES.items():
        confidences = [math.exp(combine(logprobs)) if logprobs else 0.0 for logprobs, _ in entities]
        auroc = roc_auc_score(right, confidences)
        error = calibrate(list(zip(confidences, right, strict=True)))["error"]
        yield f"| {path} | {name} | {measure} | {len(entities):,} | {auroc:.4f} | {error:.4f} |"


def load_recognizer(path: Path, settings: dict) -> "LocalRecognizer":
    """The model that wrote a predictions file.

    Raises InputError if it is on a server, or if the adapter has changed.
    """
    if "adapter" not in settings:
        raise InputError(f"{path}: the model is on a server. Leave out --after_mask")
    from ner.inference.recognizer import LocalRecognizer
    from ner.model.adapter import find_adapter
    from ner.model.hub import find_base

    recognizer = LocalRecognizer(
        find_base(settings["model"], settings["revision"]),
        settings["precision"],
        find_adapter(settings["adapter"]),
        settings["adapter"],
        find_task(settings),
        max_new_tokens=settings["max_new_tokens"],
    )
    if recognizer.settings["adapter_sha256"] != settings["adapter_sha256"]:
        raise InputError(
            f"{path}: the adapter {settings['adapter']} has changed since. Evaluate it again"
        )
    return recognizer


def mask_rows(rows: list[dict], recognizer: "LocalRecognizer") -> list[dict]:
    """The rows with the probabilities after the grammar's mask.

    Leaves out answers that the grammar does not allow, and answers whose tokens are not those of
    their text alone.
    """
    from tqdm import tqdm

    from ner.model.copying import Copy
    from ner.model.tokenizer import find_token_ends

    generator = recognizer.load_generator()
    rules = generator.rules
    masked = []
    for row in tqdm(rows, desc="masks", unit="answer"):
        tokens = rules.encode(row["answer"])
        ends = find_token_ends(tokens, recognizer.tokenizer)
        if ends != [end for end, _ in row["pieces"]][: len(ends)]:
            continue
        sentence = "".join(row["tokens"])
        logits = compute_logits(generator.model, recognizer.encode_prompt(sentence), tokens)
        logprobs = mask_logits(logits, tokens, Copy(rules, sentence))
        if logprobs is not None:
            masked.append({**row, "pieces": list(zip(ends, logprobs, strict=True))})
    print(f"{len(rows) - len(masked):,} of {len(rows):,} answers left out")
    return masked


def compute_logits(
    model: "PreTrainedModel", prompt: list[int], answer: list[int]
) -> "torch.Tensor":
    """The logits of an answer's tokens, of shape (tokens, vocabulary)."""
    import torch

    input_ids = torch.tensor([prompt + answer], device=model.device)
    with torch.inference_mode():
        output = model(input_ids=input_ids, logits_to_keep=len(answer) + 1)
    return output.logits[0, :-1].float()


def mask_logits(logits: "torch.Tensor", tokens: list[int], copy: "Copy") -> list[float] | None:
    """The log-probability of each token among those that the grammar allows.

    None if it does not allow one of the tokens.
    """
    logprobs = []
    copy.prepare()
    for token, scores in zip(tokens, logits, strict=True):
        if not copy.allows(token):
            return None
        total = scores[copy.list_allowed()].logsumexp(dim=-1)
        logprobs.append((scores[token] - total).item())
        copy.add(token)
    return logprobs


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from ner.evaluation.predictions import read_answered, retag

    table = []
    for path in args.predictions:
        settings, answered = read_answered(path)
        if not all("pieces" in row for row in answered):
            raise InputError(f"{path}: has no probabilities (pieces). Run evaluate_hub.py again")
        rows = retag(answered, settings)
        table += format_rows(path, "all tokens", rows)
        if args.after_mask and find_task(settings).kind == "marked":
            masked = mask_rows(rows, load_recognizer(path, settings))
            table += format_rows(path, "allowed tokens", masked)
    print(HEADER, *table, sep="\n")


if __name__ == "__main__":
    run_script(main)
