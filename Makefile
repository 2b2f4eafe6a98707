PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
REHEARSAL := rehearsal
SAMPLE := data/sample
STAND_IN := $(REHEARSAL)/EXAONE-stand-in
ADAPTER := $(REHEARSAL)/EXAONE-stand-in-KLUE-NER-LoRA
MARKED_ADAPTER := $(REHEARSAL)/EXAONE-stand-in-marked-LoRA

# Some containers set this. Then each process compiles PyTorch again, which takes 15 seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install install-dev lint test gpu bench clean
.PHONY: rehearse rehearse-stand-in rehearse-json rehearse-marked

install: .venv/installed
install-dev: .venv/installed-dev

# Python compiles a module on its first import. Compiling all of them takes a minute.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is older than 3.11. Name a newer one: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --requirement requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/pip install --quiet --no-compile --requirement requirements-dev.txt
	touch $@

lint: install-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

# Two processes with one thread each.
test: export OMP_NUM_THREADS = 1
test: install-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# All four scripts on a tiny random EXAONE and 24 sentences of data/sample, with JSON answers and
# with marked ones. With these settings it memorizes them. That tests the pipeline, not the quality
# of EXAONE. With --jobs 2, both kinds of answers run at the same time. The tests run the same
# commands (tests/rehearsal.py).
rehearse: export HF_HUB_OFFLINE = 1
rehearse: rehearse-json rehearse-marked

rehearse-stand-in: install
	rm -rf rehearsal
	$(RUN) -m tests.stand_in $(STAND_IN)

rehearse-json: rehearse-stand-in
	$(RUN) data_processing.py --dataset $(SAMPLE) --num_samples 24 \
	    --output $(REHEARSAL)/train.jsonl
	$(RUN) train.py --model $(STAND_IN) --data $(REHEARSAL)/train.jsonl \
	    --output_dir $(ADAPTER) --checkpoint_dir $(REHEARSAL)/results --batch_size 8 \
	    --gradient_accumulation 2 --max_steps 120 --learning_rate 5e-3 --lr_scheduler constant \
	    --logging_steps 20
	$(RUN) upload_hub.py --adapter $(ADAPTER) --base_model nobody/EXAONE-stand-in --dry_run
	$(RUN) evaluate_hub.py --adapter $(ADAPTER) --dataset $(SAMPLE) --split train \
	    --num_samples 24 --output_dir $(REHEARSAL)/evaluation --min_f1 0.99

# Marked answers are longer and take more steps.
rehearse-marked: rehearse-stand-in
	$(RUN) data_processing.py --answer marked --dataset $(SAMPLE) --num_samples 24 \
	    --output $(REHEARSAL)/marked.jsonl
	$(RUN) train.py --model $(STAND_IN) --data $(REHEARSAL)/marked.jsonl \
	    --output_dir $(MARKED_ADAPTER) --checkpoint_dir $(REHEARSAL)/marked-results --batch_size 8 \
	    --gradient_accumulation 2 --max_steps 200 --learning_rate 5e-3 --lr_scheduler constant \
	    --logging_steps 20
	$(RUN) evaluate_hub.py --adapter $(MARKED_ADAPTER) --dataset $(SAMPLE) \
	    --split train --num_samples 24 --output_dir $(REHEARSAL)/marked-evaluation --min_f1 0.99

# Everything on this machine's GPU, with a random EXAONE of the real size: 33 GB of disk.
gpu: install
	$(RUN) -m benchmarks.gpu

# Training speed on this machine, with the post's settings and with ours.
bench: install
	$(BIN)/python -m benchmarks.training

clean:
	rm -rf .venv rehearsal rehearsal-gpu
