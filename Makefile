PYTHON ?= python3
BIN := .venv/bin
STAND_IN := rehearsal/EXAONE-stand-in
ADAPTER := rehearsal/EXAONE-stand-in-KLUE-NER-LoRA

.PHONY: install test rehearse bench clean

install: .venv/installed

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

# Two at a time, one thread each.
test: export OMP_NUM_THREADS = 1
test: install
	$(BIN)/python -m pytest tests --numprocesses 2 --dist loadfile

# All four scripts on a tiny random EXAONE and 24 sentences of data/sample. The settings are for
# memorising, which says whether the pipeline works and nothing about how well it recognises.
rehearse: export HF_HUB_OFFLINE = 1
rehearse: install
	rm -rf rehearsal
	$(BIN)/python exaone.py $(STAND_IN)
	$(BIN)/python data_processing.py --dataset data/sample --num_samples 24 --output rehearsal/train.jsonl
	$(BIN)/python train.py --model $(STAND_IN) --data rehearsal/train.jsonl --output_dir $(ADAPTER) \
	    --checkpoint_dir rehearsal/results --batch_size 8 --gradient_accumulation 2 --max_steps 120 \
	    --learning_rate 5e-3 --lr_scheduler constant --logging_steps 20
	$(BIN)/python upload_hub.py --adapter $(ADAPTER) --base_model nobody/EXAONE-stand-in --dry_run
	$(BIN)/python evaluate_hub.py --adapter $(ADAPTER) --dataset data/sample --split train --num_samples 24 \
	    --output_dir rehearsal/evaluation --min_f1 0.99

# How fast training is here: the post's settings and ours.
bench: install
	$(BIN)/python -m tests.measure_training

clean:
	rm -rf .venv rehearsal
