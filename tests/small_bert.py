"""A tiny random BERT in the hub's file layout, for tests."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from ner.text.corpus import load_split
from tests.helpers import SAMPLE

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def train_word_pieces(texts: list[str], vocab_size: int = 600) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer with BERT's special tokens, [PAD] 0 among them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def write_bert(folder: Path) -> None:
    """Write the model, and a tokenizer trained on the sample corpus."""
    word_pieces = train_word_pieces(load_split(str(SAMPLE), "train")["sentence"])
    config = BertConfig(
        vocab_size=len(word_pieces),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertForTokenClassification(config).save_pretrained(folder)
    word_pieces.save_pretrained(folder)
