"""A base model's tokenizer and the tokens that end its answers."""

from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.names import is_exaone
from ner.model.remote_code import describe


def load_tokenizer(base: Base, local_files_only: bool = False) -> PreTrainedTokenizerBase:
    """Load a base model's tokenizer, with a padding token. Raises InputError.

    EXAONE's comes from its `tokenizer.json` alone. AutoTokenizer would rebuild the class that its
    configuration names and lose the file's own normalizer and pre-tokenizer (transformers issue
    45920).
    """
    loader = PreTrainedTokenizerFast if is_exaone(base.name) else AutoTokenizer
    try:
        tokenizer = loader.from_pretrained(
            base.name, revision=base.revision, local_files_only=local_files_only
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{base.name}: its tokenizer cannot be read ({describe(error)})"
        ) from error
    if tokenizer.chat_template is None:
        raise InputError(f"{base.name} has no chat template. Choose an instruct model")
    if tokenizer.pad_token is None:
        # For models without a padding token. Padding has neither attention nor loss.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_prompt(messages: list[dict], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a chat up to where the answer begins, the same in training and in use."""
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]


def find_end_tokens(
    base: Base, tokenizer: PreTrainedTokenizerBase, local_files_only: bool = False
) -> list[int]:
    """Ids that end an answer: the tokenizer's EOS and those of `generation_config.json`."""
    end_tokens = {tokenizer.eos_token_id}
    try:
        config = GenerationConfig.from_pretrained(
            base.name, revision=base.revision, local_files_only=local_files_only
        )
        listed = config.eos_token_id
    except OSError:
        listed = None
    end_tokens.update([listed] if isinstance(listed, int) else listed or [])
    return sorted(end_tokens)


def find_token_ends(tokens: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Where each token of an answer ends in its text, in characters.

    A token that ends within a character ends before it.
    """
    beginnings = [tokens[:count] for count in range(1, len(tokens) + 1)]
    texts = tokenizer.batch_decode(beginnings, skip_special_tokens=True)
    return [len(text.rstrip("\ufffd")) for text in texts]
