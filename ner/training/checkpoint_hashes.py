"""Hash the files of a checkpoint once all of them are written."""

import shutil
from pathlib import Path

from transformers import TrainerCallback

from ner.files import write_atomically
from ner.model.process import get_process
from ner.training.checkpoints import HASHES, count_steps, hash_files, list_checkpoints


class HashCheckpoint(TrainerCallback):
    """Completes a checkpoint with its files' hashes. Without them it is incomplete."""

    def on_train_begin(self, args, state, control, **kwargs):
        # A checkpoint has the intervals of the run that wrote it. --save_steps may have changed.
        state.compute_steps(args, state.max_steps)
        # Trainer keeps the last two checkpoints. Incomplete ones after the resumed one would count
        # as well, so they are deleted.
        if state.is_world_process_zero:
            for checkpoint in list_checkpoints(Path(args.output_dir)):
                if count_steps(checkpoint) > state.global_step:
                    shutil.rmtree(checkpoint)

    def on_save(self, args, state, control, **kwargs):
        get_process().wait_for_everyone()  # each process writes the state of its random numbers
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_atomically(folder / HASHES, hash_files(folder))
