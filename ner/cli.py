"""Shared by all commands: flags, input errors and exit codes."""

import argparse
import os
import sys
from collections.abc import Callable


class InputError(ValueError):
    """Invalid input. The message states the error, its place and the fix."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows a docstring as written, and each flag's default unless its help has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if "default" in text or any(
            action.default is value for value in (None, False, argparse.SUPPRESS)
        ):
            return text
        return f"{text} (default: %(default)s)"


def build_parser(description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`. An `InputError` prints one message, Ctrl-C one line.

    A closed pipe prints nothing.
    """
    try:
        main()
        sys.stdout.flush()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as interruption:
        print(f"\nstopped: {interruption or 'unfinished output was not written'}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `| head` has seen enough. Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def positive_int(text: str) -> int:
    """Parse a whole number of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def non_negative_int(text: str) -> int:
    """Parse a whole number of at least 0."""
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return int(text)


def non_negative_float(text: str) -> float:
    """Parse a number of at least 0."""
    if not float(text) >= 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return float(text)


def add_corpus_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flags that say how to read a data set of another form than KLUE's."""
    parser.add_argument(
        "--labels",
        type=lambda text: text.split(","),
        metavar="TAG,TAG,…",
        help="names of tags that are plain numbers, the name of 0 first: O,B-PS,I-PS,…",
    )
    parser.add_argument(
        "--join",
        choices=["auto", "characters", "words"],
        default="auto",
        help="kind of tokens. Words are joined with spaces (default: auto, by their lengths)",
    )


def fraction(text: str) -> float:
    """Parse a number from 0 up to, but not including, 1."""
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 and less than 1")
    return float(text)


def probability(text: str) -> float:
    """Parse a number from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def describe_changes(before: dict, now: dict) -> list[str]:
    """One line for each setting whose value differs between two runs.

    Labels in another order are another prompt, although the dictionaries are equal.
    """
    return [
        f"{name}: was {before.get(name)}, now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if str(before.get(name)) != str(now.get(name))
    ]
