"""Write a random EXAONE of any size in the hub's layout, and texts of KLUE's lengths for it."""

import json
import random
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from ner.files import replace_folder, write_atomically
from ner.model.exaone import ExaoneConfig
from ner.model.loading import build_empty
from ner.model.names import to_exaone
from ner.text.notation import escape, parse_marked_sentence
from tests.helpers import SAMPLE
from tests.stand_in import build_tokenizer

# Large enough for the projections to take most of a CPU's time.
SMALL = ExaoneConfig(
    vocab_size=2048,
    hidden_size=512,
    intermediate_size=1792,
    num_layers=8,
    num_attention_heads=8,
    num_key_value_heads=2,
)
SHARD = "5GB"  # seven shards for EXAONE's 31 GB, as on the hub
# The percentages of texts that join one, two, ... sentences of data/sample. Chats then have 137
# tokens and at most 261. KLUE's have 149 and, it is assumed, at most 300 with EXAONE's tokenizer.
JOINED = (5, 10, 15, 20, 20, 15, 10, 5)


def write_random_exaone(folder: Path, config: ExaoneConfig) -> None:
    """Write float32 weights, one shard in memory at a time, and the tokenizer of the stand-in."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shapes = {to_exaone(name): part for name, part in build_empty(config).state_dict().items()}
    shards = split_torch_state_dict_into_shards(shapes, max_shard_size=SHARD)
    with replace_folder(folder, "config.json") as part:
        for file, names in shards.filename_to_tensors.items():
            tensors = {name: draw_weights(shapes[name].shape, config, device) for name in names}
            save_file(tensors, part / file, metadata={"format": "pt"})
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (part / "model.safetensors.index.json").write_text(json.dumps(index))
        config.save_pretrained(part)
        build_tokenizer().save_pretrained(part)


def draw_weights(shape: torch.Size, config: ExaoneConfig, device: str) -> torch.Tensor:
    """Random weights of a matrix, or the ones of a normalization."""
    if len(shape) == 1:
        return torch.ones(shape)
    return (config.initializer_range * torch.randn(shape, device=device)).cpu()


def write_texts(folder: Path, count: int) -> None:
    """Write a data set: each text joins a few sentences of data/sample. The same every time."""
    for split, seed in (("train", 0), ("validation", 1)):
        sentences = (SAMPLE / f"{split}.txt").read_text(encoding="utf-8").splitlines()
        draw = random.Random(seed)
        sizes = draw.choices(range(1, len(JOINED) + 1), JOINED, k=count)
        texts = [join(draw.sample(sentences, size)) for size in sizes]
        write_atomically(folder / f"{split}.txt", "\n".join(texts) + "\n")


def join(sentences: list[str]) -> str:
    """Only the first keeps the marks of its names, or there would be more than in KLUE's texts."""
    first, *others = sentences
    return " ".join([first, *map(remove_marks, others)])


def remove_marks(line: str) -> str:
    """A sentence in KLUE's notation without its marks."""
    tokens, _ = parse_marked_sentence(line)
    return escape("".join(tokens))
