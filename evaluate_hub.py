"""Step 4: ask the fine-tuned model for the entities of held-out sentences, and score its answers.

Reads the adapter (a hub repository or a local folder), its base model in the same 4-bit, and a seeded
sample of KLUE-NER's validation split. Appends each answer to `evaluation/predictions.jsonl`, then hands
over to `report.py`, which prints the scores and writes `metrics.json` and `report.html` beside it.
Interrupted, the same command goes on where it stopped.

    python evaluate_hub.py                                    100 sentences, as the post drew them
    python evaluate_hub.py --num_samples 5000                 all of them
    python evaluate_hub.py --text "손흥민은 춘천에서 태어났다."    sentences of your own
    accelerate launch evaluate_hub.py                         on every GPU of the machine
    python evaluate_hub.py --endpoint http://localhost:8000/v1 --model NAME    asked of a server, such as vLLM's
"""
# exaone before peft: it quiets what bitsandbytes logs when peft imports it.
from exaone import (ADAPTER, EXAONE, build_empty, check_base, check_device, download_base, fill_adapter, find_adapter,
                    find_end_tokens, get_process, hash_adapter, is_out_of_memory, load_config, load_model, load_tokenizer,
                    read_adapter, read_adapter_config)

import argparse
import copy
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import torch
from datasets import Dataset
from httpx2 import HTTPError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from peft import PeftModel, get_peft_model
from tqdm import tqdm
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from data_processing import (FEATURES, InputError, KLUE, SYSTEM_PROMPTS, TAGS, bio_to_json, build_prompt, check_writable,
                             describe_changes, find_revision, get_id2label, load_split, mark_entities, positive_int, run_script, sample_rows, tag_answer,
                             write_whole)
from report import read_predictions, report_predictions

ENDPOINT_TRIES = 5  # with 1, 2, 4 and 8 seconds between them


class Answer(NamedTuple):
    """What a model said to one of the sentences it was given."""
    index: int
    text: str
    stopped: bool  # False if the token limit cut it off


Ask = Callable[[list[int]], Iterator[Answer]]  # answers for the sentences of these indices


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put an adapter on its base, whole. Raises InputError if it does not fit."""
    config, tensors = read_adapter(folder, model.config.model_type)
    model = get_peft_model(model, config)
    fill_adapter(model, tensors, folder)
    # Autocast trained with such copies; kept, they spare each of the adapter's products two conversions.
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(model.dtype)
    return model.eval()


def load_recogniser(base: str, revision: str | None, precision: str, adapter: Path | None) -> PreTrainedModel | PeftModel:
    """The base model with its adapter, if it has one."""
    model = load_model(base, revision, precision)
    return load_adapter(model, adapter) if adapter else model


def encode_prompts(tokenizer: PreTrainedTokenizerBase, sentences: Iterable[str], system_prompt: str) -> list[list[int]]:
    """Token ids of each sentence's chat, up to where the answer begins."""
    return [tokenizer.apply_chat_template(build_prompt(sentence, system_prompt), add_generation_prompt=True)["input_ids"]
            for sentence in sentences]


def find_shared_prefix(tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], system_prompt: str) -> list[int]:
    """The tokens that every prompt begins with: the system prompt's. Two probes keep a word common to all sentences out."""
    return os.path.commonprefix([*prompts, *encode_prompts(tokenizer, ["가", "A"], system_prompt)])


def compute_prefix(model: PreTrainedModel | PeftModel, prefix: list[int]) -> Cache:
    """The prefix's keys and values, computed once; batches copy them."""
    cache = DynamicCache(config=model.config)
    if prefix:
        with torch.inference_mode():
            model(input_ids=torch.tensor([prefix], device=model.device), past_key_values=cache, logits_to_keep=1)
    return cache


def extend_batch(model: PreTrainedModel | PeftModel, end_tokens: list[int], pad_token: int, prompts: list[list[int]],
                 limits: list[int], prefix_length: int, prefix_cache: Cache, leave: int = 0) -> list[list[int]]:
    """What each prompt is followed by, greedily: up to an end token, to its limit, or till only `leave` are not done.

    Padding stands on the left, between the prefix and the rest. Unlike `generate`, which carries every sentence along
    until the last is done, a sentence that has reached its end leaves the batch.
    """
    device, width = model.device, max(map(len, prompts))
    rests = [[pad_token] * (width - len(prompt)) + prompt[prefix_length:] for prompt in prompts]
    masks = [[1] * prefix_length + [0] * (width - len(prompt)) + [1] * (len(prompt) - prefix_length) for prompt in prompts]
    input_ids, mask = torch.tensor(rests, device=device), torch.tensor(masks, device=device)
    running, ends = torch.arange(len(prompts), device=device), torch.tensor(end_tokens, device=device)
    left = torch.tensor(limits, device=device)
    cache = copy.deepcopy(prefix_cache)
    cache.batch_repeat_interleave(len(prompts))
    said: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode():
        while len(running) > leave:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -input_ids.shape[1]:]
            logits = model(input_ids=input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                           logits_to_keep=1).logits
            chosen = logits[:, -1].argmax(dim=-1)
            for row, token in zip(running.tolist(), chosen.tolist(), strict=True):
                said[row].append(token)
            left = left - 1
            going_on = (~torch.isin(chosen, ends) & (left > 0)).nonzero().flatten()
            if len(going_on) < len(chosen):
                running, chosen, mask, left = running[going_on], chosen[going_on], mask[going_on], left[going_on]
                cache.batch_select_indices(going_on)
            input_ids = chosen[:, None]
            mask = torch.cat([mask, torch.ones_like(input_ids)], dim=1)
    return said


def generate_answers(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, end_tokens: list[int],
                     prompts: list[list[int]], prefix: list[int], batch_size: int, max_new_tokens: int) -> Iterator[Answer]:
    """Greedy answers as they come, longest prompts first, in batches of similar length.

    The few of a batch that go on long after the others are left, and taken up together once all have had their turn: alone
    they would take a step of the whole model for every token. A batch that does not fit into memory is halved, and so are
    those after it.
    """
    cache = compute_prefix(model, prefix)
    chats, waiting = [list(prompt) for prompt in prompts], list(range(len(prompts)))
    while waiting:
        waiting.sort(key=lambda i: len(chats[i]), reverse=True)
        start, late = 0, []
        while start < len(waiting):
            batch = waiting[start:start + batch_size]
            leave = len(batch) // 8 if len(waiting) > batch_size else 0
            limits = [max_new_tokens - len(chats[i]) + len(prompts[i]) for i in batch]
            try:
                said = extend_batch(model, end_tokens, tokenizer.pad_token_id, [chats[i] for i in batch], limits, len(prefix),
                                    cache, leave)
            except RuntimeError as error:
                if len(batch) == 1 or not is_out_of_memory(error):
                    raise
                said = None  # the memory comes back only after the error's own frames are gone
            if said is None:
                torch.cuda.empty_cache()
                batch_size = len(batch) // 2
                tqdm.write(f"out of memory with {len(batch)} sentences at a time; going on with {batch_size}")
                continue
            for i, tokens, limit in zip(batch, said, limits, strict=True):
                chats[i] += tokens
                stopped = tokens[-1] in end_tokens
                if stopped or len(tokens) == limit:
                    yield Answer(i, tokenizer.decode(chats[i][len(prompts[i]):], skip_special_tokens=True), stopped)
                else:
                    late.append(i)
            start += len(batch)
        waiting = late


def ask_endpoint(url: str, model: str, sentences: list[str], system_prompt: str, max_new_tokens: int,
                 concurrency: int) -> Iterator[Answer]:
    """Answers as they come from an OpenAI-compatible server, at temperature 0.

    Its key, if it wants one, is ENDPOINT_API_KEY's; the hub's token is never sent there. Raises InputError where the
    server does not answer after several tries.
    """
    # Without a key of its own the client would send the hub's token along.
    client = InferenceClient(base_url=url, api_key=os.environ.get("ENDPOINT_API_KEY") or "none", timeout=300)

    def ask(index: int) -> Answer:
        for attempt in range(ENDPOINT_TRIES):
            try:
                reply = client.chat_completion(build_prompt(sentences[index], system_prompt), model=model,
                                               max_tokens=max_new_tokens, temperature=0).choices[0]
                return Answer(index, reply.message.content or "", reply.finish_reason != "length")
            except (HTTPError, OSError) as error:
                status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
                if attempt == ENDPOINT_TRIES - 1 or status in (400, 401, 403, 404):
                    raise InputError(f"{url}: no answer from {model} ({f'status {status}' if status else type(error).__name__}). "
                                     "Is it the server's address with /v1, is --model what it serves, does it want "
                                     "ENDPOINT_API_KEY?") from None
                time.sleep(2 ** attempt)

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, index) for index in range(len(sentences))]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def choose_max_new_tokens(tokenizer: PreTrainedTokenizerBase, dataset: str) -> int:
    """Twice the longest training answer: enough for a fence and line breaks around it. 512 without a train split."""
    try:
        rows = load_split(dataset, "train")
    except InputError:
        return 512
    id2label = get_id2label(rows)
    answers = {bio_to_json(row["tokens"], row["ner_tags"], id2label)[1] for row in rows}
    return 2 * max(len(ids) for ids in tokenizer(sorted(answers), add_special_tokens=False)["input_ids"])


def collect_predictions(path: Path, settings: dict) -> None:
    """Gather what was answered before, and by other processes, into `path`.

    The file is written anew, whole: a line that a killed process left half is gone. Raises InputError if answers were
    made under other settings.
    """
    parts = sorted(path.parent.glob(f"{path.stem}.process*.jsonl"))
    rows = {}
    for part in [path, *parts]:
        if not part.is_file():
            continue
        before, answered = read_predictions(part)
        if answered and before != settings:
            raise InputError(f"{part} holds answers made otherwise, and the two would be mixed:\n  "
                             + "\n  ".join(describe_changes(before, settings)) + "\nName another --output_dir, or delete this one")
        rows.update((row["id"], row) for row in answered)
    lines = [{"settings": settings}, *(rows[row_id] for row_id in sorted(rows))]
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    for part in parts:
        part.unlink()


def append_predictions(path: Path, settings: dict, rows: Dataset, answers: Iterator[Answer], total: int) -> None:
    """Append each answer to `path` as it comes, with what it is made of and what became of it."""
    id2label = get_id2label(rows)
    is_new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="\n") as file, \
            tqdm(total=total, desc="answers", unit="sentence", disable=not get_process().is_main_process) as progress:
        if is_new:
            file.write(json.dumps({"settings": settings}, ensure_ascii=False) + "\n")
        for answer in answers:
            row = rows[answer.index]
            tags, diagnosis = tag_answer(answer.text, row["tokens"])
            file.write(json.dumps({"id": row["row"], "tokens": row["tokens"], "gold": [id2label[tag] for tag in row["ner_tags"]],
                                   "answer": answer.text, "tags": tags, "diagnosis": diagnosis,
                                   "stopped": answer.stopped}, ensure_ascii=False) + "\n")
            file.flush()
            progress.update()


def hash_sentences(rows: Dataset) -> str:
    """A fingerprint of the sentences and their gold tags, in their order."""
    return hashlib.sha256(json.dumps([rows["tokens"][:], rows["ner_tags"][:]]).encode()).hexdigest()


def parse_batch_size(value: str) -> int:
    return (64 if torch.cuda.is_available() else 16) if value == "auto" else positive_int(value)


def draw_rows(args: argparse.Namespace) -> Dataset:
    """The sentences to be answered, each with its `row` in the split; of --text, sentences without entities."""
    if args.text:
        tokens = [list(text) for text in args.text]
        tags = [[TAGS.index("O")] * len(text) for text in args.text]
        return Dataset.from_dict({"sentence": args.text, "tokens": tokens, "ner_tags": tags}, features=FEATURES)
    rows = load_split(args.dataset, args.split)
    return sample_rows(rows.add_column("row", list(range(len(rows)))), args.num_samples, args.seed)


def prepare_endpoint(args: argparse.Namespace, sentences: list[str]) -> tuple[dict, Ask]:
    """What a server's answers depend on, and the function that asks it for those of some of the sentences."""
    max_new_tokens, prompt = args.max_new_tokens or 512, choose_prompt(args.prompt, None)

    def ask(pending: list[int]) -> Iterator[Answer]:
        answers = ask_endpoint(args.endpoint, args.model, [sentences[i] for i in pending], SYSTEM_PROMPTS[prompt],
                               max_new_tokens, args.concurrency)
        return (answer._replace(index=pending[answer.index]) for answer in answers)

    return {"endpoint": args.endpoint, "model": args.model, "prompt": prompt, "max_new_tokens": max_new_tokens}, ask


def choose_prompt(asked: str | None, adapter: Path | None) -> str:
    """The name of the system prompt: the one asked for, the one the adapter was trained with, or the post's first."""
    trained_with = None
    if adapter and (record := adapter / "training.json").is_file():
        trained_with = (json.loads(record.read_text(encoding="utf-8"))["data"]["source"] or {}).get("prompt")
    elif adapter and (card := adapter / "README.md").is_file():  # of a published one, as upload_hub.py writes it
        trained_with = next(iter(re.findall(r"^system_prompt: (\w+)$", card.read_text(encoding="utf-8"), re.MULTILINE)), None)
    return asked or (trained_with if trained_with in SYSTEM_PROMPTS else "basic")


def prepare_model(args: argparse.Namespace, sentences: list[str]) -> tuple[dict, Ask]:
    """The same for a model of ours. Checks what can be checked; the weights are loaded when the first answer is wanted."""
    adapter = find_adapter(args.adapter)
    trained_on = read_adapter_config(adapter) if adapter else {}
    base = args.model or trained_on.get("base_model_name_or_path") or EXAONE
    if adapter and base != trained_on["base_model_name_or_path"]:
        print(f"note: {args.adapter} was trained on {trained_on['base_model_name_or_path']}; here it is put on {base}")
    revision = check_base(base, args.revision or (None if args.model else trained_on.get("revision")))
    # A batch's keys and values: 0.13 GB a sentence of 1,024 tokens in EXAONE 3. A larger batch is halved till it fits.
    check_device(base, build_empty(load_config(base, revision)), args.precision, 1e9 + 0.2e9 * min(args.batch_size, 16))
    tokenizer = load_tokenizer(base, revision)
    prompt = choose_prompt(args.prompt, adapter)
    system_prompt = SYSTEM_PROMPTS[prompt]
    prompts = encode_prompts(tokenizer, sentences, system_prompt)
    prefix = find_shared_prefix(tokenizer, prompts, system_prompt)
    max_new_tokens = args.max_new_tokens or (512 if args.text else choose_max_new_tokens(tokenizer, args.dataset))

    def ask(pending: list[int]) -> Iterator[Answer]:
        download_base(base, revision)
        model = load_recogniser(base, revision, args.precision, adapter)
        answers = generate_answers(model, tokenizer, find_end_tokens(base, tokenizer, revision),
                                   [prompts[i] for i in pending], prefix, args.batch_size, max_new_tokens)
        return (answer._replace(index=pending[answer.index]) for answer in answers)

    return {"model": base, "revision": revision, "adapter": args.adapter, "adapter_sha256": adapter and hash_adapter(adapter),
            "precision": args.precision, "prompt": prompt, "max_new_tokens": max_new_tokens}, ask


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    model = parser.add_argument_group("model")
    model.add_argument("--adapter", default=ADAPTER, metavar="ID_OR_FOLDER",
                       help="a local folder, an id on the hub (without a namespace: your own; @ and a branch, tag or commit may "
                            "follow), or none for the base model alone (default: %(default)s)")
    model.add_argument("--model", metavar="ID_OR_FOLDER",
                       help=f"base model (default: the one the adapter names; {EXAONE} without an adapter)")
    model.add_argument("--revision", metavar="REV", help="the base's commit on the hub (default: the adapter's)")
    model.add_argument("--precision", choices=["nf4", "bfloat16", "float32"], default="nf4",
                       help="of the base model (default: %(default)s, as trained)")
    model.add_argument("--prompt", choices=SYSTEM_PROMPTS,
                       help="which of the post's two system prompts to ask with (default: what the adapter's training.json "
                            "or card says it was trained with, else basic)")
    model.add_argument("--max_new_tokens", type=positive_int, metavar="N",
                       help="of an answer (default: twice the longest training answer; 512 where that is not known)")
    model.add_argument("--batch_size", type=parse_batch_size, default="auto", metavar="N",
                       help="sentences at a time; halved where memory runs out (default: auto, 64 on CUDA and 16 on a CPU)")

    server = parser.add_argument_group("a model served elsewhere")
    server.add_argument("--endpoint", metavar="URL", help="OpenAI-compatible server that serves --model; its key, if it "
                                                          "wants one, is read from ENDPOINT_API_KEY")
    server.add_argument("--concurrency", type=positive_int, default=16, metavar="N", help="requests at a time (default: %(default)s)")

    data = parser.add_argument_group("sentences")
    data.add_argument("--dataset", default=KLUE, metavar="ID_OR_FOLDER", help="as for data_processing.py (default: %(default)s)")
    data.add_argument("--split", default="validation", help="(default: %(default)s)")
    data.add_argument("--num_samples", type=positive_int, default=100, metavar="N",
                      help="how many to draw; a smaller split is taken whole (default: %(default)s)")
    data.add_argument("--seed", type=int, default=42, help="of the draw (default: %(default)s)")
    data.add_argument("--text", nargs="+", metavar="SENTENCE", help="tag these instead, and print them marked")

    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", type=Path, default=Path("evaluation"), metavar="DIR",
                        help="for predictions.jsonl, metrics.json and report.html (default: %(default)s)")
    output.add_argument("--min_f1", type=float, metavar="F1", help="exit with an error below this F1")
    args = parser.parse_args(argv)
    if args.endpoint and not args.model:
        parser.error("--endpoint needs --model, the name under which the server serves it")
    return args


def answer_rows(path: Path, settings: dict, rows: Dataset, ask: Ask) -> None:
    """Have every row answered that is not in `path` yet, by all processes together, and gather the answers there."""
    process = get_process()
    if process.is_main_process:
        collect_predictions(path, settings)
    process.wait_for_everyone()
    done = {row["id"] for row in read_predictions(path)[1]}
    pending = [i for i, row in enumerate(rows["row"]) if row not in done]
    if process.is_main_process:
        print(f"sentences: {len(rows):,}, answered before: {len(done):,}, processes: {process.num_processes}")
    share = pending[process.process_index::process.num_processes]
    if share:
        own = path if process.is_main_process else path.with_name(f"{path.stem}.process{process.process_index}.jsonl")
        append_predictions(own, settings, rows, ask(share), len(share))
    process.wait_for_everyone()
    if process.is_main_process:
        collect_predictions(path, settings)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    rows = draw_rows(args)
    sentences = ["".join(tokens) for tokens in rows["tokens"]]
    if not args.text:
        check_writable(args.output_dir / "predictions.jsonl")
    settings, ask = (prepare_endpoint if args.endpoint else prepare_model)(args, sentences)
    if args.text:
        for answer in sorted(ask(list(range(len(rows))))):
            tokens = rows[answer.index]["tokens"]
            print(mark_entities(tokens, tag_answer(answer.text, tokens)[0]))
        return

    settings |= {"dataset": args.dataset, "dataset_revision": find_revision(rows), "split": args.split,
                 "num_samples": args.num_samples, "seed": args.seed, "sentences_sha256": hash_sentences(rows)}
    path = args.output_dir / "predictions.jsonl"
    answer_rows(path, settings, rows, ask)
    if get_process().is_main_process:
        metrics = report_predictions(path, args.output_dir / "report.html")
        if args.min_f1 is not None and metrics["scores"]["seqeval"]["f1"]["value"] < args.min_f1:
            sys.exit(f"error: F1 is under --min_f1 {args.min_f1}")


if __name__ == "__main__":
    run_script(main)
