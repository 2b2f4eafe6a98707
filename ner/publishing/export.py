"""Write a merged model as a checkpoint that loads without this project."""

import json
from pathlib import Path

import torch
from huggingface_hub import constants, split_torch_state_dict_into_shards
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedConfig

from ner.cli import InputError
from ner.files import (
    find_existing_parent,
    free_bytes,
    replace_folder,
    write_atomically,
    write_json,
)
from ner.model.device import count_parameters
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base, download_base
from ner.model.loading import build_empty
from ner.model.names import is_exaone
from ner.model.tensors import hash_adapter
from ner.model.tokenizer import find_end_tokens, load_tokenizer
from ner.publishing.base_files import find_base_file, read_base_file
from ner.publishing.contents import read_fields
from ner.publishing.merged_card import build_merged_card
from ner.publishing.merging import (
    Merging,
    StoredTensor,
    check_tensors,
    find_tensors,
    merge_tensor,
    read_shape,
)
from ner.publishing.names import EXPORT_RECORD

SHARD = "1GB"  # one shard is in memory at a time


def check_space(folder: Path, config: PreTrainedConfig, base: Base, dtype: torch.dtype) -> None:
    """Check that the disk has room for the checkpoint and the base's download.

    Raises InputError.
    """
    size = dtype.itemsize * count_parameters(build_empty(config))
    disks = [
        find_existing_parent(path).stat().st_dev for path in (folder, Path(constants.HF_HUB_CACHE))
    ]
    needed = size + (base.download if disks[0] == disks[1] else 0)
    if needed > free_bytes(folder):
        raise InputError(
            f"{folder}: the export needs {needed / 1e6:,.1f} MB of disk space, but there are "
            f"{free_bytes(folder) / 1e6:,.1f} MB free. Free some space, or choose another "
            "--output_dir"
        )


def read_license(base: Base) -> str | None:
    """The base model's license, if it has one. An EXAONE's must go with it. Raises InputError."""
    if is_exaone(base.name):
        return read_base_file(base, "LICENSE")
    path = find_base_file(base, "LICENSE")
    return path.read_text(encoding="utf-8") if path else None


def write_checkpoint(
    base: Base, config: PreTrainedConfig, merging: Merging, license: str | None, folder: Path
) -> None:
    """Download a base model and write the merged one to `folder`, whole or not at all.

    Raises InputError if the base's files do not fit.
    """
    base_folder = download_base(base)
    tensors = find_tensors(base_folder, config)
    check_tensors(tensors, merging, base_folder)
    with replace_folder(folder, EXPORT_RECORD) as part:
        write_weights(tensors, merging, part)
        write_config(base_folder, config, merging.dtype, part)
        write_tokenizer(base, config, part)
        if license:
            write_atomically(part / "LICENSE", license)
        card = build_merged_card(folder.resolve().name, part, base.name, config, merging)
        write_atomically(part / "README.md", f"{card}\n")
        record = {
            "adapter_sha256": hash_adapter(merging.adapter),
            "onto": "nf4" if merging.nf4 else "original",
        }
        write_json(part / EXPORT_RECORD, record)
    print(f"exported: {folder}")


def write_weights(tensors: dict[str, StoredTensor], merging: Merging, folder: Path) -> None:
    """Merge and write one shard at a time."""
    empty = {
        name: torch.empty(read_shape(tensor), dtype=merging.dtype, device="meta")
        for name, tensor in tensors.items()
    }
    shards = split_torch_state_dict_into_shards(empty, max_shard_size=SHARD)
    with tqdm(total=len(tensors), desc="merging", unit=" tensors") as progress:
        for file, names in shards.filename_to_tensors.items():
            write_shard({name: tensors[name] for name in names}, merging, folder / file, progress)
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        write_json(folder / "model.safetensors.index.json", index)


def write_shard(
    tensors: dict[str, StoredTensor], merging: Merging, file: Path, progress: tqdm
) -> None:
    merged = {}
    for name, tensor in tensors.items():
        merged[name] = merge_tensor(name, tensor, merging)
        progress.update()
    save_file(merged, file, metadata={"format": "pt"})


def write_config(
    base_folder: Path, config: PreTrainedConfig, dtype: torch.dtype, folder: Path
) -> None:
    """Write the base model's `config.json`: as it is, or as Llama's if it is an EXAONE 3."""
    if isinstance(config, ExaoneConfig):
        fields = config.to_llama_dict()
    else:
        fields = json.loads((base_folder / "config.json").read_text(encoding="utf-8"))
    for name in ("auto_map", "dtype"):
        fields.pop(name, None)
    # Old and new versions of Transformers read this name of the field.
    fields["torch_dtype"] = str(dtype).removeprefix("torch.")
    write_json(folder / "config.json", fields)


def write_tokenizer(base: Base, config: PreTrainedConfig, folder: Path) -> None:
    """Write the tokenizer, and the tokens that end an answer to `generation_config.json`."""
    tokenizer = load_tokenizer(base)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    fields = read_fields(path)
    if fields["tokenizer_class"] == "TokenizersBackend":
        # The name that versions of Transformers below 5 know, too.
        fields["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(path, fields)
    GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=find_end_tokens(base, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    ).save_pretrained(folder)
