"""A tiny random EXAONE in the hub's file layout, for running the whole pipeline on a CPU.

The tests and `make rehearse` use it. It needs no GPU, no network and no license to accept.

    python -m tests.stand_in OUT_DIR
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from data_processing import create_chat_dataset
from ner.cli import build_parser, run_script
from ner.files import replace_folder
from ner.model.device import count_parameters
from ner.model.exaone import ExaoneConfig
from ner.text.corpus import get_id2label, load_split
from ner.text.prompts import JSON_PROMPTS, SYSTEM_PROMPTS
from tests.helpers import SAMPLE

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if loop.first and message['role'] != 'system' -%}"
    "{{ '[|system|][|endofturn|]\n' }}"
    "{%- endif -%}"
    "{{ '[|' + message['role'] + '|]' + message['content'] }}"
    "{{ '\n' if message['role'] == 'user' else '[|endofturn|]\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '[|assistant|]' }}{%- endif -%}"
)
# The other markers of turns are ordinary text, as in the real tokenizer.
SPECIAL_TOKENS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "[|endofturn|]"]
# As in the real repository: remote code, and a tokenizer class that would read it wrongly.
PATCHES = {
    "config.json": {
        "auto_map": {
            "AutoConfig": "configuration_exaone.ExaoneConfig",
            "AutoModelForCausalLM": "modeling_exaone.ExaoneForCausalLM",
        }
    },
    "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"},
}


def train_tokenizer(texts: list[str], vocab_size: int = 2000) -> Tokenizer:
    """A byte-level BPE with EXAONE's special tokens, [PAD] 0 and [BOS] 1 among them."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL_TOKENS,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer trained on the sample corpus.

    It has tokens that join the end of `[|assistant|]` with the beginning of an answer.
    """
    rows = load_split(str(SAMPLE), "train")
    chats = create_chat_dataset(rows, get_id2label(rows))
    turns = [f"[|{turn['role']}|]{turn['content']}" for c in chats for turn in c["messages"][1:]]
    texts = [*(f"[|system|]{SYSTEM_PROMPTS[name]}" for name in JSON_PROMPTS), *turns]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(texts),
        pad_token="[PAD]",
        bos_token="[BOS]",
        eos_token="[|endofturn|]",
        unk_token="[UNK]",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(
    tokenizer: PreTrainedTokenizerFast, config_class: type = ExaoneConfig, **more: object
) -> PreTrainedModel:
    """Build a random EXAONE from a fixed seed. `more` are fields of its configuration.

    The standard deviation of 0.15 makes the frozen head wide enough for LoRA to steer.
    """
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.15,
        eos_token_id=tokenizer.eos_token_id,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)


def write_stand_in(folder: Path, config_class: type = ExaoneConfig, **more: object) -> None:
    """Write model and tokenizer with the files of the real repository. See `build_model`."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, config_class, **more)
    with replace_folder(folder, "config.json") as part:
        model.save_pretrained(part, max_shard_size="1MB")
        tokenizer.save_pretrained(part)
        tokenizer.backend_tokenizer.model.save(str(part))  # vocab.json and merges.txt
        (part / "LICENSE").write_text(
            "Random weights, made by tests/stand_in.py, under the license of the project: "
            "Apache-2.0.\n"
        )
        for name, fields in PATCHES.items():
            content = json.loads((part / name).read_text(encoding="utf-8")) | fields
            (part / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(
        f"{folder}: a random EXAONE of {count_parameters(model):,} parameters, "
        f"{len(tokenizer):,} tokens"
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "out_dir", type=Path, metavar="OUT_DIR", help="folder to write, created if it is missing"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    write_stand_in(parse_args(argv).out_dir)


if __name__ == "__main__":
    run_script(main)
