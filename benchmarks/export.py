"""Measure the memory and the time that export.py takes at EXAONE's real shapes.

Writes a random EXAONE with a few of its 32 layers in float32 to --work_dir, and an adapter for it.
Exports them with the adapter merged into the 4-bit weights. Four layers need 10 GB of memory to
write, and 10 GB of disk.

    python -m benchmarks.export --work_dir DIR
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.random_adapter import write_random_adapter
from benchmarks.random_exaone import write_random_exaone
from ner.cli import build_parser, positive_int, run_script
from ner.model.exaone import ExaoneConfig

ROOT = Path(__file__).resolve().parent.parent
# Anonymous memory leaves out the page cache. The last pair of an adapter and a folder is measured.
EXPORT = """
import sys, threading, time
from pathlib import Path
import export
from ner.publishing import export as exporting

def measure_memory():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])

def watch():
    global peak
    while True:
        peak = max(peak, measure_memory())
        time.sleep(0.001)

exporting.SHARD, *paths = sys.argv[1:]
*first, last = zip(paths[::2], paths[1::2], strict=True)
for adapter, folder in first:
    export.main(["--adapter", adapter, "--output_dir", folder])
before, peak = measure_memory(), 0
threading.Thread(target=watch, daemon=True).start()
export.main(["--adapter", last[0], "--output_dir", last[1]])
print(before, peak)
"""


def write_models(folder: Path, config: ExaoneConfig) -> Path:
    """Write a random EXAONE and an adapter of rank 32 for it. Returns the adapter's folder."""
    write_random_exaone(folder / "EXAONE-random", config)
    (folder / "EXAONE-random" / "LICENSE").write_text("Random weights: Apache-2.0.\n")
    return write_random_adapter(folder / "EXAONE-random", folder / "adapter", r=32, lora_alpha=16)


def measure_export(shard: str, *paths: Path) -> tuple[int, int]:
    """Export adapters to folders in a new process, with shards of this size.

    `paths` are an adapter, its folder, and so on. Returns the process's memory before the last
    export and at its peak, in bytes.
    """
    command = [sys.executable, "-c", EXPORT, shard, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    before, peak = map(int, done.stdout.splitlines()[-1].split())
    return before, peak


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument("--work_dir", type=Path, required=True, metavar="DIR", help="new folder")
    parser.add_argument("--layers", type=positive_int, default=4, metavar="N", help="layers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    adapter = write_models(args.work_dir, ExaoneConfig(num_layers=args.layers))
    start = time.perf_counter()
    before, peak = measure_export("1GB", adapter, args.work_dir / "EXAONE-merged")
    print(
        f"{args.layers} layers: {time.perf_counter() - start:.0f} s, {peak / 1e9:.2f} GB of memory "
        f"at the peak, {before / 1e9:.2f} GB of it for the libraries"
    )


if __name__ == "__main__":
    run_script(main)
