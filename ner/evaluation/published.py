"""Results that others report. Each was measured on its own set, so they do not form a ranking."""

POST_SAMPLE = "100 sentences of KLUE-NER's validation split, seed 42"
POST_UNKNOWN = "KLUE-NER; the post does not name the sentences"
KLUE_TEST = "KLUE-NER's hidden test set"
KLUE_README = "https://github.com/KLUE-benchmark/KLUE, README"

PUBLISHED = [
    {
        "model": "EXAONE-3.0-7.8B-Instruct, 4-bit QLoRA, second converter",
        "score": "seqeval",
        "value": 0.6820,
        "measured_on": POST_SAMPLE,
        "source": "the post",
    },
    {
        "model": "EXAONE-3.0-7.8B-Instruct, 4-bit QLoRA, third converter and stricter prompt",
        "score": "seqeval",
        "value": 0.7129,
        "measured_on": POST_SAMPLE,
        "source": "the post",
    },
    {
        "model": "BERT-base",
        "score": "seqeval",
        "value": 0.88,
        "measured_on": POST_UNKNOWN,
        "source": "the post",
    },
    {
        "model": "Bi-LSTM-CRF",
        "score": "seqeval",
        "value": 0.85,
        "measured_on": POST_UNKNOWN,
        "source": "the post",
    },
    {
        "model": "KoELECTRA-base",
        "score": "klue_entity",
        "value": 0.8611,
        "measured_on": KLUE_TEST,
        "source": KLUE_README,
    },
    {
        "model": "KoELECTRA-base",
        "score": "klue_character",
        "value": 0.9256,
        "measured_on": KLUE_TEST,
        "source": KLUE_README,
    },
    {
        "model": "KLUE-RoBERTa-large",
        "score": "klue_entity",
        "value": 0.8500,
        "measured_on": KLUE_TEST,
        "source": KLUE_README,
    },
    {
        "model": "KLUE-RoBERTa-large",
        "score": "klue_character",
        "value": 0.9186,
        "measured_on": KLUE_TEST,
        "source": KLUE_README,
    },
]
