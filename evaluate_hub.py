"""Step 4: ask the fine-tuned model for the entities of held-out sentences, and score its answers.

Reads the adapter (a hub repository or a local folder), its base model in the same 4-bit, and a seeded
sample of KLUE-NER's validation split. Prints seqeval's precision, recall and F1.

    python evaluate_hub.py                                    100 sentences, as the post drew them
    python evaluate_hub.py --num_samples 5000                 all of them
    python evaluate_hub.py --text "손흥민은 춘천에서 태어났다."    sentences of your own
"""
# exaone before peft: it quiets what bitsandbytes logs when peft imports it.
from exaone import (ADAPTER, ADAPTER_FILES, EXAONE, build_empty, check_base, check_device, explain_hub_errors,
                    find_end_tokens, load_config, load_model, load_tokenizer)

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
from huggingface_hub import get_token, snapshot_download, whoami
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from data_processing import (InputError, KLUE, SYSTEM_PROMPTS, build_prompt, get_id2label, load_split, mark_entities,
                             run_script, sample_rows, tag_answer)
from report import compute_f1, format_report


def find_adapter(name: str) -> Path | None:
    """The folder of an adapter: a local one, or a hub repository's, downloaded. None for the name `none`.

    A name without a namespace that is no folder here is looked for under the login's own. Raises InputError.
    """
    if name == "none":
        return None
    folder = Path(name)
    if not folder.is_dir():
        with explain_hub_errors(name):
            if "/" not in name:
                if get_token() is None:
                    raise InputError(f"{name}: no such folder. Train it first (python train.py), give the adapter's id "
                                     "on the hub as owner/name, or log in to find your own: hf auth login")
                name = f"{whoami()['name']}/{name}"
            folder = Path(snapshot_download(name, allow_patterns=ADAPTER_FILES))
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(f"{name}: holds no {file}, so it is not an adapter")
    return folder


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put an adapter on its base. Raises InputError unless each of its tensors is in the model afterwards.

    PEFT only warns of tensors that fit nothing, and the base then answers alone.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")
        model = PeftModel.from_pretrained(model, folder)
    saved, loaded = load_file(folder / "adapter_model.safetensors"), get_peft_model_state_dict(model)
    lost = [name for name in saved.keys() | loaded.keys()
            if name not in saved or name not in loaded or not torch.equal(saved[name], loaded[name].cpu().to(saved[name].dtype))]
    if lost or not saved:
        raise InputError(f"{folder}: {len(lost)} of the adapter's {len(saved)} tensors did not load, such as "
                         f"{sorted(lost)[:1]}. It was trained on another base model (--model) or is damaged")
    return model.eval()


def load_recogniser(base: str, revision: str | None, precision: str, adapter: Path | None,
                    tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel | PeftModel:
    """The base model with its adapter, set to answer greedily."""
    model = load_model(base, revision, precision)
    # In place of the repository's own settings: a repetition penalty, say, would keep a name from being said twice.
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=tokenizer.pad_token_id,
                                               eos_token_id=find_end_tokens(base, tokenizer, revision))
    return load_adapter(model, adapter) if adapter else model


def generate_answers(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str],
                     system_prompt: str, batch_size: int, max_new_tokens: int) -> list[str]:
    """The model's answers, one a sentence, in their order. Batches hold prompts of similar length, padded on the left."""
    answers = [""] * len(sentences)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]), reverse=True)
    with tqdm(total=len(sentences), desc="answers", unit="sentence") as progress:
        for start in range(0, len(order), batch_size):
            batch = order[start:start + batch_size]
            inputs = tokenizer.apply_chat_template(
                [build_prompt(sentences[i], system_prompt) for i in batch], add_generation_prompt=True,
                padding=True, tokenizer_kwargs={"padding_side": "left"}, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                outputs = model.generate(**inputs, max_new_tokens=max_new_tokens)
            texts = tokenizer.batch_decode(outputs[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
            for i, text in zip(batch, texts, strict=True):
                answers[i] = text
            progress.update(len(batch))
    return answers


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    model = parser.add_argument_group("model")
    model.add_argument("--adapter", default=ADAPTER, metavar="ID_OR_FOLDER",
                       help="a local folder, an id on the hub (without a namespace: your own), or none for the base "
                            "model alone (default: %(default)s)")
    model.add_argument("--model", metavar="ID_OR_FOLDER",
                       help=f"base model (default: the one the adapter names; {EXAONE} without an adapter)")
    model.add_argument("--revision", metavar="REV", help="the base's commit on the hub (default: the adapter's)")
    model.add_argument("--precision", choices=["nf4", "bfloat16", "float32"], default="nf4",
                       help="of the base model (default: %(default)s, as trained)")
    model.add_argument("--prompt", choices=SYSTEM_PROMPTS, default="basic",
                       help="which of the post's two system prompts to ask with (default: %(default)s)")
    model.add_argument("--max_new_tokens", type=int, default=512, metavar="N", help="of an answer (default: %(default)s)")
    model.add_argument("--batch_size", type=int, default=16, metavar="N", help="sentences at a time (default: %(default)s)")

    data = parser.add_argument_group("sentences")
    data.add_argument("--dataset", default=KLUE, metavar="ID_OR_FOLDER",
                      help="as for data_processing.py (default: %(default)s)")
    data.add_argument("--split", default="validation", help="(default: %(default)s)")
    data.add_argument("--num_samples", type=int, default=100, metavar="N",
                      help="how many to draw; a smaller split is taken whole (default: %(default)s)")
    data.add_argument("--seed", type=int, default=42, help="of the draw (default: %(default)s)")
    data.add_argument("--text", nargs="+", metavar="SENTENCE", help="tag these instead, and print them marked")
    data.add_argument("--min_f1", type=float, metavar="F1", help="exit with an error below this F1")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    adapter = find_adapter(args.adapter)
    trained_on = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")) if adapter else {}
    base = args.model or trained_on.get("base_model_name_or_path") or EXAONE
    rows = None if args.text else sample_rows(load_split(args.dataset, args.split), args.num_samples, args.seed)
    revision = check_base(base, args.revision or (None if args.model else trained_on.get("revision")))
    # A batch's keys and values: 0.13 GB a sentence of 1,024 tokens in EXAONE 3.
    check_device(base, build_empty(load_config(base, revision)), args.precision, 1e9 + 0.2e9 * args.batch_size)

    tokenizer = load_tokenizer(base, revision)
    model = load_recogniser(base, revision, args.precision, adapter, tokenizer)
    sentences_tokens = [list(text) for text in args.text] if args.text else rows["tokens"]
    answers = generate_answers(model, tokenizer, ["".join(tokens) for tokens in sentences_tokens],
                               SYSTEM_PROMPTS[args.prompt], args.batch_size, args.max_new_tokens)
    results = [tag_answer(answer, tokens) for answer, tokens in zip(answers, sentences_tokens, strict=True)]
    if args.text:
        for tokens, (tags, _) in zip(sentences_tokens, results, strict=True):
            print(mark_entities(tokens, tags))
        return

    id2label = get_id2label(rows)
    gold = [[id2label[tag] for tag in tags] for tags in rows["ner_tags"]]
    predicted = [tags for tags, _ in results]
    print(format_report(gold, predicted, [diagnosis for _, diagnosis in results]))
    if args.min_f1 is not None and compute_f1(gold, predicted) < args.min_f1:
        sys.exit(f"error: F1 is under --min_f1 {args.min_f1}")


if __name__ == "__main__":
    run_script(main)
