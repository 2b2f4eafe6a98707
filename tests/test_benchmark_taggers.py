"""The two taggers to compare with: an encoder and a Bi-LSTM-CRF."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from benchmarks import bilstm_crf, encoder
from benchmarks.bilstm_crf_model import PADDING, UNKNOWN, Tagger
from benchmarks.pieces import encode, find_spans, label_pieces, spread_tags
from benchmarks.tagger_run import Sentence, read_sentences
from ner.cli import InputError
from ner.evaluation.answering import draw_rows, hash_sentences
from ner.evaluation.scores import compute_f1
from ner.text.corpus import load_split
from ner.text.tags import start_entities
from tests.helpers import ROOT, SAMPLE
from tests.small_bert import train_word_pieces

SHOP = ROOT / "data" / "shop"


@pytest.fixture(scope="module")
def sample() -> list[Sentence]:
    return read_sentences(load_split(str(SAMPLE), "train"))


@pytest.fixture(scope="module")
def word_pieces(bert) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(bert)


def read_lines(folder: Path) -> tuple[dict, list[dict]]:
    """The settings of a folder's predictions, and their rows."""
    text = (folder / "predictions.jsonl").read_text(encoding="utf-8")
    first, *rows = map(json.loads, text.splitlines())
    return first["settings"], rows


def is_well_formed(tags: list[str]) -> bool:
    return tags == start_entities(tags)


@pytest.mark.parametrize(
    ("sentence", "offsets", "spans"),
    [
        (
            "봄이 온다",
            [(0, 0), (0, 1), (1, 2), (3, 5), (0, 0)],
            [None, (0, 1), (1, 2), (3, 5), None],
        ),
        # SentencePiece: the space belongs to the next piece, or is a piece.
        ("봄 비", [(0, 1), (1, 3)], [(0, 1), (2, 3)]),
        ("봄 비", [(0, 1), (1, 2), (2, 3)], [(0, 1), None, (2, 3)]),
        # Bytes of one character, and a character that a normalizer made two.
        ("봄비", [(0, 1), (0, 1), (0, 1), (1, 2)], [(0, 1), None, None, (1, 2)]),
        ("3㎏", [(0, 2), (1, 2)], [(0, 2), None]),
        ("", [(0, 0), (0, 0)], [None, None]),
    ],
)
def test_characters_of_pieces(sentence, offsets, spans):
    assert find_spans(sentence, offsets) == spans


@pytest.mark.parametrize(
    ("tokens", "tags", "spans", "labels"),
    [
        # A piece that crosses the end of an entity is in it.
        ("서울은", "B-LC I-LC O", [(0, 1), (1, 3)], "B-LC I-LC"),
        # One that crosses the beginning is not; the next piece begins the entity.
        ("전서울", "O B-LC I-LC", [(0, 2), (2, 3)], "O B-LC"),
        # Two entities without a character between them, and both in a piece.
        ("오늘밤", "B-DT I-DT B-TI", [(0, 2), (2, 3)], "B-DT B-TI"),
        ("오늘밤", "B-DT I-DT B-TI", [(0, 3)], "B-DT"),
        ("봄봄봄", "B-PS B-PS I-PS", [(0, 2), (2, 3)], "B-PS B-PS"),
        # A space in an entity has no piece.
        ("김 솔", "B-PS I-PS I-PS", [(0, 1), (2, 3)], "B-PS I-PS"),
    ],
)
def test_labels_of_pieces(tokens, tags, spans, labels):
    assert label_pieces(list(tokens), tags.split(), spans) == labels.split()
    assert label_pieces(list(tokens), tags.split(), [None, *spans]) == [None, *labels.split()]


@pytest.mark.parametrize(
    ("tokens", "piece_tags", "spans", "tags"),
    [
        (list("김솔은"), "B-PS O", [(0, 2), (2, 3)], "B-PS I-PS O"),
        # Characters without a piece, in an entity, between two, and after the last piece.
        (list("김 솔"), "B-PS I-PS", [(0, 1), (2, 3)], "B-PS I-PS I-PS"),
        (list("김 솔"), "B-PS B-PS", [(0, 1), (2, 3)], "B-PS O B-PS"),
        (list("김 솔 "), "B-PS I-OG", [(0, 1), (2, 3)], "B-PS O B-OG O"),
        # An I- that continues nothing.
        (list("김솔"), "O I-PS", [(0, 1), (1, 2)], "O B-PS"),
        # Words: one that is partly in an entity is in it, and in the first of two.
        (["Kim", " ", "Yuna's"], "B-PS I-PS O", [(0, 3), (4, 8), (8, 10)], "B-PS I-PS I-PS"),
        (["KimYuna", "Lee"], "B-PS B-OG I-OG", [(0, 3), (3, 7), (7, 10)], "B-PS B-OG"),
        (list("비"), "", [], "O"),
        # Finals and accents that NFC joined with the character before, and so no piece covers.
        (list("\u110b\u1161\u11ab은"), "B-PS O", [(0, 1), (3, 4)], "B-PS I-PS I-PS O"),
        (list("Zoe\u0308 "), "B-PS", [(0, 3)], "B-PS I-PS I-PS I-PS O"),
    ],
)
def test_tags_of_tokens(tokens, piece_tags, spans, tags):
    assert spread_tags(piece_tags.split(), spans, tokens) == tags.split()
    # The tag of a piece without characters does not count.
    more = ["I-QT", *piece_tags.split()]
    assert spread_tags(more, [None, *spans], tokens) == tags.split()


@pytest.mark.parametrize(("vocab_size", "complete"), [(600, True), (2000, False)])
def test_gold_tags_come_back(vocab_size, complete, sample):
    """All do if the pieces are short. Longer ones cross the boundaries of entities."""
    texts = ["".join(sentence.tokens) for sentence in sample]
    encoded = encode(
        [sentence.tokens for sentence in sample], train_word_pieces(texts, vocab_size), 512
    )
    tags = []
    for sentence, spans in zip(sample, encoded.spans, strict=True):
        labels = label_pieces(*sentence, spans)
        tags.append(spread_tags([label or "O" for label in labels], spans, sentence.tokens))
    assert all(map(is_well_formed, tags))
    assert (tags == [sentence.tags for sentence in sample]) == complete


def test_unknown_pieces_have_characters(word_pieces):
    assert word_pieces.tokenize("뷁 봄")[0] == "[UNK]"
    assert encode([list("뷁 봄")], word_pieces, 512).spans == [[None, (0, 1), (2, 3), None]]


def test_rest_of_a_long_sentence_is_outside(word_pieces, capsys):
    encoded = encode([list("봄, 봄, 봄,"), ["봄"]], word_pieces, 5)
    assert "1 sentences have more than 5 pieces" in capsys.readouterr().out
    tags = spread_tags(["B-DT"] * 5, encoded.spans[0], list("봄, 봄, 봄,"))
    assert tags == ["B-DT", "B-DT", "O", "B-DT", "O", "O", "O", "O"]


def test_encoder(bert, tmp_path, capsys):
    encoder.main([*make_flags(tmp_path), "--model", str(bert), "--epochs", "2"])
    assert "48 of 48 training sentences keep their gold tags" in capsys.readouterr().out
    settings, rows = read_lines(tmp_path)
    check_predictions(settings, rows)
    assert (tmp_path / "metrics.json").is_file() and (tmp_path / "report.html").is_file()
    assert settings["model"] == str(bert)
    assert (settings["epochs"], settings["learning_rate"], settings["train_seed"]) == (2, 5e-5, 42)


def make_flags(folder: Path) -> list[str]:
    return ["--dataset", str(SAMPLE), "--output_dir", str(folder), "--num_samples", "9"]


def check_predictions(settings: dict, rows: list[dict]) -> None:
    """They are of the sentences that evaluate_hub.py draws, and their tags are well-formed."""
    drawn = draw_rows(str(SAMPLE), "validation", 9, 42)
    assert settings["sentences_sha256"] == hash_sentences(drawn)
    assert (settings["num_samples"], settings["seed"]) == (9, 42)
    assert "labels" not in settings and "prompt" not in settings
    assert [row["id"] for row in rows] == drawn["row"][:]
    gold = read_sentences(drawn)
    assert [Sentence(row["tokens"], row["gold"]) for row in rows] == gold
    for row in rows:
        assert row.keys() == {"id", "tokens", "gold", "tags"}
        assert len(row["tags"]) == len(row["tokens"]) and is_well_formed(row["tags"])


class Killed(Exception):
    """Ends a process at once."""


def fail_at(call: int, error: BaseException | type[BaseException], method):
    """The method, which raises `error` when it is called for this time."""
    calls = iter(range(1, 1000))

    def failing(*args, **kwargs):
        if next(calls) == call:
            raise error
        return method(*args, **kwargs)

    return failing


@pytest.mark.parametrize("step", [4, 5])
def test_encoder_continues(step, bert, tmp_path, monkeypatch):
    """Two steps an epoch: killed within the second epoch, or after it."""
    flags = ["--model", str(bert), "--epochs", "2", "--batch_size", "24", "--learning_rate", "1e-2"]
    encoder.main([*make_flags(tmp_path / "whole"), *flags])
    with monkeypatch.context() as patch:
        if step <= 4:
            method = fail_at(step, Killed, encoder.Trainer.training_step)
            patch.setattr(encoder.Trainer, "training_step", method)
        else:
            patch.setattr(encoder.Trainer, "predict", fail_at(1, Killed, encoder.Trainer.predict))
        with pytest.raises(Killed):
            encoder.main([*make_flags(tmp_path / "killed"), *flags])
    assert not (tmp_path / "killed" / "predictions.jsonl").exists()
    encoder.main([*make_flags(tmp_path / "killed"), *flags])
    weights = "checkpoints/checkpoint-4/model.safetensors"
    for name in ("predictions.jsonl", weights):
        paths = [tmp_path / run / name for run in ("whole", "killed")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_finished_run_is_not_done_again(bert, tmp_path, monkeypatch):
    flags = [*make_flags(tmp_path), "--model", str(bert), "--epochs", "1"]
    encoder.main(flags)
    monkeypatch.setattr(encoder, "load_encoder", fail_at(1, Killed, encoder.load_encoder))
    encoder.main(flags)
    with pytest.raises(InputError, match=r"epochs: was 1, now 2\nChoose another --output_dir"):
        encoder.main([*flags[:-1], "2"])


def test_bilstm_crf(tmp_path, monkeypatch, capsys):
    """Killed in its second epoch, it goes on and ends as if it had not been."""
    flags = ["--epochs", "3", "--patience", "2", "--learning_rate", "1e-2", "--seed", "7"]
    bilstm_crf.main([*make_flags(tmp_path / "whole"), *flags])
    settings, rows = read_lines(tmp_path / "whole")
    check_predictions(settings, rows)
    assert (settings["model"], settings["epochs"], settings["train_seed"]) == ("Bi-LSTM-CRF", 3, 7)
    with monkeypatch.context() as patch:
        method = fail_at(2, KeyboardInterrupt, Tagger.train_epoch)
        patch.setattr(Tagger, "train_epoch", method)
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            bilstm_crf.main([*make_flags(tmp_path / "killed"), *flags])
    with monkeypatch.context() as patch:
        method = fail_at(1, MemoryError("no room"), Tagger.train_epoch)
        patch.setattr(Tagger, "train_epoch", method)
        with pytest.raises(InputError, match=r"\(no room\)\. Choose a --batch_size below 32"):
            bilstm_crf.main([*make_flags(tmp_path / "killed"), *flags])
    capsys.readouterr()
    bilstm_crf.main([*make_flags(tmp_path / "killed"), *flags])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines if line.startswith("epoch")] == ["epoch 2:", "epoch 3:"]
    files = [tmp_path / run / "predictions.jsonl" for run in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.fixture(scope="module")
def memorized(sample, tmp_path_factory) -> Tagger:
    """A Bi-LSTM-CRF that has learned eight sentences by heart."""
    folder = tmp_path_factory.mktemp("memorized")
    flags = ["--output_dir", str(folder), "--epochs", "24", "--patience", "24"]
    args = bilstm_crf.parse_args([*flags, "--learning_rate", "2e-2"])
    tags = sorted({tag for sentence in sample for tag in sentence.tags})
    tagger = Tagger(sample[:8], tags, "cpu", seed=1)
    bilstm_crf.fit(tagger, sample[:8], sample[:8], args)
    return tagger


def test_bilstm_crf_memorizes(memorized, sample):
    predicted = memorized.tag([sentence.tokens for sentence in sample[:8]])
    assert compute_f1([sentence.tags for sentence in sample[:8]], predicted) > 0.9


def test_bilstm_crf_tags_anything(memorized):
    """Unknown characters, a single one, none, and lengths that are out of order."""
    sentences = [list("뷁쉛"), [], ["봄"], list("서울에서 만난 김하늘씨"), ["봄"]]
    predicted = memorized.tag(sentences)
    assert list(map(len, predicted)) == list(map(len, sentences))
    assert all(map(is_well_formed, predicted))
    assert predicted == [memorized.tag([sentence])[0] for sentence in sentences]


def test_embedding_of_unknown_characters_is_trained(memorized, sample):
    untrained = Tagger(sample[:8], memorized.tags, "cpu", seed=1)
    before, after = (tagger.model.embedding.weight for tagger in (untrained, memorized))
    assert not torch.equal(before[UNKNOWN], after[UNKNOWN])
    assert torch.equal(before[PADDING], after[PADDING])


def test_patience_begins_with_the_first_entity(sample, tmp_path, monkeypatch, capsys):
    """F1 on the held-out sentences is 0, then rises, then stays, which is no better, and falls."""
    scores = iter([0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.3, 0.6])
    monkeypatch.setattr(bilstm_crf, "compute_f1", lambda *_: next(scores))
    args = bilstm_crf.parse_args(["--output_dir", str(tmp_path), "--patience", "2"])
    tagger = Tagger(
        sample[:2], ["O", *sorted(set(sample[0].tags + sample[1].tags) - {"O"})], "cpu", 1
    )
    bilstm_crf.fit(tagger, sample[:2], sample[:2], args)
    assert "epoch 7:" in capsys.readouterr().out
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert (state["epoch"], state["best_epoch"], state["best_f1"]) == (7, 5, 0.5)
    best, last = state["best"], state["model"]
    assert torch.equal(tagger.model.state_dict()["linear.weight"], best["linear.weight"])
    assert not torch.equal(last["linear.weight"], best["linear.weight"])


def test_held_out_sentences_are_not_trained_on():
    repeated = [Sentence([character], ["O"]) for character in "가나다라마" * 4]
    rest, held_out = bilstm_crf.hold_out(repeated, seed=0)
    assert len(held_out) == 2
    assert {sentence.tokens[0] for sentence in rest + held_out} == set("가나다라마")
    assert not [sentence for sentence in rest if sentence in held_out]
    with pytest.raises(InputError, match="at least two different sentences"):
        bilstm_crf.hold_out(repeated[:1] * 9, seed=0)


def test_labels_of_ones_own(bert, tmp_path):
    for module, flags in ((encoder, ["--model", str(bert)]), (bilstm_crf, [])):
        folder = tmp_path / module.__name__
        module.main(["--dataset", str(SHOP), "--output_dir", str(folder), "--epochs", "1", *flags])
        settings, rows = read_lines(folder)
        assert list(settings["labels"]) == list(json.loads((SHOP / "labels.json").read_text()))
        assert len(rows) == 12


def test_words(bert, tmp_path):
    (tmp_path / "train.conll").write_text("Kim\tB-PER\nYuna\tI-PER\nran\tO\n\nSeoul\tB-LOC\n")
    (tmp_path / "validation.conll").write_text("Kim\tB-PER\nfrom\tO\nSeoul\tB-LOC\n")
    for module, flags in ((encoder, ["--model", str(bert)]), (bilstm_crf, [])):
        folder = tmp_path / module.__name__
        module.main(
            ["--dataset", str(tmp_path), "--output_dir", str(folder), "--epochs", "1", *flags]
        )
        (row,) = read_lines(folder)[1]
        assert row["tokens"] == ["Kim", " ", "from", " ", "Seoul"]
        assert len(row["tags"]) == 5 and is_well_formed(row["tags"])


def test_bad_input(bert, tmp_path):
    (tmp_path / "train.txt").write_text("봄이 왔다.\n", encoding="utf-8")
    (tmp_path / "validation.txt").write_text("<봄:DT>이 왔다.\n", encoding="utf-8")
    flags = ["--dataset", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(InputError, match="1 training sentences have no entity"):
        bilstm_crf.main(flags)
    with pytest.raises(InputError, match=r"no config\.json"):
        encoder.main([*make_flags(tmp_path / "out"), "--model", str(tmp_path)])
    (tmp_path / "predictions.jsonl").touch()
    with pytest.raises(InputError, match="was written by another program"):
        bilstm_crf.main(make_flags(tmp_path))
