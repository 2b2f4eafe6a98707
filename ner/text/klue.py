"""KLUE-NER: its hub id, labels and tags."""

KLUE = "klue/klue"
LABELS = {"PS": "사람", "LC": "장소", "OG": "기관", "DT": "날짜", "TI": "시간", "QT": "수량"}
# In the hub's order: a tag's position is its id in KLUE's `ner_tags` column.
TAGS = [
    *("B-DT", "I-DT", "B-LC", "I-LC", "B-OG", "I-OG", "B-PS", "I-PS"),
    *("B-QT", "I-QT", "B-TI", "I-TI", "O"),
]
