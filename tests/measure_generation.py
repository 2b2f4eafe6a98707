"""Measure what batches and the shared prefix are worth: the same sentences one at a time, as the post did, and batched.

Loads a model and its adapter as evaluate_hub.py does; writes nothing, prints sentences per second and their ratio, and how
many answers differ between the two.

    python -m tests.measure_generation --model MODEL --adapter ADAPTER --num_samples 64
"""
import evaluate_hub
from data_processing import SYSTEM_PROMPTS, run_script
from exaone import find_end_tokens, load_tokenizer

import time

import torch


def main(argv: list[str] | None = None) -> None:
    args = evaluate_hub.parse_args(argv)
    rows = evaluate_hub.draw_rows(args)
    sentences = ["".join(tokens) for tokens in rows["tokens"]]
    adapter = evaluate_hub.find_adapter(args.adapter)
    tokenizer = load_tokenizer(args.model, args.revision)
    prompts = evaluate_hub.encode_prompts(tokenizer, sentences, SYSTEM_PROMPTS["basic"])
    prefix = evaluate_hub.find_shared_prefix(tokenizer, prompts, SYSTEM_PROMPTS["basic"])
    max_new_tokens = args.max_new_tokens or evaluate_hub.choose_max_new_tokens(tokenizer, args.dataset)
    model = evaluate_hub.load_recogniser(args.model, args.revision, args.precision, adapter)
    end_tokens = find_end_tokens(args.model, tokenizer, args.revision)
    answers, seconds = {}, {}
    for name, shared, batch_size in (("one at a time", [], 1), ("batched", prefix, args.batch_size)):
        start = time.perf_counter()
        answers[name] = sorted(evaluate_hub.generate_answers(model, tokenizer, end_tokens, prompts, shared, batch_size, max_new_tokens))
        seconds[name] = time.perf_counter() - start
        print(f"{name} ({batch_size}): {len(rows) / seconds[name]:.2f} sentences a second")
    differing = sum(one != other for one, other in zip(*answers.values(), strict=True))
    print(f"{seconds['one at a time'] / seconds['batched']:.1f} times as fast; {differing} of {len(rows)} answers differ")
    print(f"{args.precision}, {torch.get_num_threads()} threads, {tokenizer.decode(prefix)[:40]!r}… shared: {len(prefix)} tokens")


if __name__ == "__main__":
    run_script(main)
