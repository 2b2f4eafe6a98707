"""The scores of a report: title, definition and source of each, for tables, page and card."""

SCORES = {
    "seqeval": {
        "title": "seqeval, micro",
        "definition": (
            "Label and exact span must match. All labels are counted together. An I- tag without "
            "a B- tag before it also starts an entity. The post reports this score."
        ),
        "source": "seqeval 1.2.2, f1_score(gold, predicted)",
    },
    "seqeval_strict": {
        "title": "seqeval, micro, strict IOB2",
        "definition": "The same, but only a B- tag starts an entity.",
        "source": "seqeval 1.2.2, f1_score(gold, predicted, mode='strict', scheme=IOB2)",
    },
    "klue_entity": {
        "title": "KLUE, entities, macro",
        "definition": (
            "Mean of the labels' F1 in strict IOB2, after spaces are removed from the sentences. "
            "Labels that occur on neither side are left out."
        ),
        "source": "klue_baseline/metrics/functional.py, klue_ner_entity_macro_f1",
    },
    "klue_character": {
        "title": "KLUE, characters, macro",
        "definition": (
            "Mean F1 of the 13 tags, O included, over all characters except spaces. Each sentence "
            "adds two O tags for [CLS] and [SEP]. A tag that occurs on neither side counts as 1."
        ),
        "source": "klue_baseline/metrics/functional.py, klue_ner_char_macro_f1",
    },
    "surface": {
        "title": "surface form, micro",
        "definition": (
            "Label and text of each listed mention, without positions. The texts are normalized as "
            "for alignment. Mentions that are not in the sentence count as wrong. The difference "
            "from seqeval's F1 is the cost of alignment."
        ),
        "source": "ner.text.alignment.normalize; after UIE's string F1 (Lu et al. 2022)",
    },
    "nervaluate_partial": {
        "title": "nervaluate, partial",
        "definition": "Spans without labels. A span that only overlaps counts half.",
        "source": "nervaluate 1.2.1, PartialEvaluation; SemEval-2013 task 9.1",
    },
    "nervaluate_type": {
        "title": "nervaluate, type",
        "definition": "A span that overlaps one with the same label counts.",
        "source": "nervaluate 1.2.1, EntityTypeEvaluation; SemEval-2013 task 9.1",
    },
}
