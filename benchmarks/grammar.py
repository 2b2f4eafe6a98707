"""Measure what the grammar of marked answers costs, with the vocabulary of a tokenizer.

Loads no weights. Copies the sentences without names and times the parts of the grammar:

    python -m benchmarks.grammar --model MODEL --dataset PATH
"""

import time
from typing import NamedTuple

import torch

from ner.cli import build_parser, run_script
from ner.evaluation.answering import draw_rows
from ner.inference.flags import add_sentence_flags
from ner.model.copying import Copy, CopyRules
from ner.model.hub import find_base
from ner.model.tokenizer import find_end_tokens, load_tokenizer
from ner.text.corpus import get_labels
from ner.text.notation import escape

BATCH = 64  # of evaluate_hub.py


class GrammarTiming(NamedTuple):
    """Milliseconds of each part of a grammar."""

    build: float  # once per sentence
    follow: float  # per token: check it and go on with it
    mask: float  # per token that is not allowed: find the best that is


def time_grammar(rules: CopyRules, sentences: list[str]) -> GrammarTiming:
    """Average over the tokens of the sentences, copied without names."""
    logits = torch.zeros(rules.grammar_tokenizer.vocab_size)
    start = time.perf_counter()
    copies = [Copy(rules, sentence) for sentence in sentences]
    for copy in copies:
        copy.prepare()
    build = time.perf_counter() - start

    mask = follow = 0.0
    count = 0
    for copy in copies:
        for token in rules.encode(escape(copy.sentence)):
            start = time.perf_counter()
            copy.choose(logits)
            between = time.perf_counter()
            assert copy.allows(token)
            copy.add(token)
            mask += between - start
            follow += time.perf_counter() - between
            count += 1
    return GrammarTiming(1e3 * build / len(copies), 1e3 * follow / count, 1e3 * mask / count)


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--model", required=True, metavar="ID_OR_FOLDER", help="whose tokenizer to use"
    )
    parser.add_argument("--revision", help="its branch, tag or commit (default: the newest)")
    add_sentence_flags(parser)
    args = parser.parse_args(argv)
    rows = draw_rows(args.dataset, args.split, args.num_samples, args.seed, args.labels, args.join)
    base = find_base(args.model, args.revision)
    tokenizer = load_tokenizer(base)
    labels = get_labels(rows, args.dataset)
    end_tokens = find_end_tokens(base, tokenizer)
    rules = CopyRules(tokenizer, end_tokens, draft=0, constrain=True, labels=labels)
    cost = time_grammar(rules, ["".join(tokens) for tokens in rows["tokens"]])
    print(
        f"{len(rows)} sentences, {len(labels)} labels, a vocabulary of {rules.vocabulary:,} tokens:"
    )
    print(f"{cost.build:.2f} ms to build a sentence's grammar")
    print(f"{cost.follow:.3f} ms to follow a token")
    print(f"{cost.mask:.3f} ms to compute a mask, {BATCH * cost.mask:.1f} ms for {BATCH} sentences")


if __name__ == "__main__":
    run_script(main)
