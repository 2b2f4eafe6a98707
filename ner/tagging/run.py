"""Tag documents chunk by chunk, in order and in bounded memory, on all processes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from ner.cli import InputError
from ner.model.process import get_process
from ner.tagging.reading import Document
from ner.tagging.recognizer import SENTENCES, Recognizer
from ner.tagging.writing import FORMATS, OutputFile, Progress
from ner.text.documents import Sentence

Chunk = list[tuple[Document, list[Sentence]]]


def tag_to_stream(
    recognizer: Recognizer,
    documents: Iterable[Document],
    output_format: str,
    stream: TextIO,
    total: int | None = None,
) -> None:
    """Tag documents and print them. See `tag_documents`."""

    def write(content: str, progress: Progress) -> None:
        stream.write(content)
        stream.flush()

    report(tag_documents(recognizer, documents, output_format, write, Progress(), total))


def tag_to_file(
    recognizer: Recognizer,
    documents: Iterable[Document],
    output_format: str,
    path: Path,
    settings: dict,
    total: int | None = None,
) -> None:
    """Tag the documents that are not in a file yet, and append them. See `tag_documents`.

    Raises InputError if the file was written with other `settings`.
    """
    process, output = get_process(), OutputFile(path, settings)
    before = output.progress
    process.wait_for_everyone()  # until all have read the progress
    if process.is_main_process:
        output.open()
    progress = tag_documents(recognizer, documents, output_format, output.append, before, total)
    if process.is_main_process:
        output.finish()
    if before.documents == progress.documents > 0:
        process.print(f"{path}: is complete already. Delete it to tag the documents again")
    report(progress)


def report(progress: Progress) -> None:
    get_process().print(
        f"documents: {progress.documents:,}, sentences whose answers reached the token limit: "
        f"{progress.incomplete:,}"
    )


def tag_documents(
    recognizer: Recognizer,
    documents: Iterable[Document],
    output_format: str,
    write: Callable[[str, Progress], None],
    progress: Progress,
    total: int | None = None,
) -> Progress:
    """Tag documents and pass them to `write`, a chunk at a time, with the progress so far.

    Documents that `progress` counts are passed over. Chunks depend on the documents alone, and each
    is answered by one process. So the output does not depend on the number of processes or on
    interruptions. `total` is the size of all documents in bytes, if known. Only the main process
    calls `write`. Raises InputError if the documents passed over are not those of `progress`.
    """
    from accelerate.utils import gather_object  # takes seconds to import

    process, documents = get_process(), iter(documents)
    digest, size = pass_over(documents, progress)
    chunks = form_chunks(documents, recognizer)
    with tqdm(
        total=total,
        initial=size,
        desc="tagging",
        unit="B",
        unit_scale=True,
        disable=not process.is_main_process,
    ) as bar:
        while turn := list(islice(chunks, process.num_processes)):
            own = turn[process.process_index : process.process_index + 1]
            tagged = [tag_chunk(recognizer, chunk, output_format, bar) for chunk in own]
            for chunk, (content, incomplete) in zip(turn, gather_object(tagged), strict=True):
                for document, _ in chunk:
                    hash_document(digest, document)
                    size += document.size
                progress = Progress(
                    progress.documents + len(chunk),
                    digest.hexdigest(),
                    progress.incomplete + incomplete,
                )
                if process.is_main_process:
                    # On a terminal, the bar would share a line with the content.
                    with bar.external_write_mode():
                        write(content, progress)
            bar.update(size - bar.n)
    return progress


def pass_over(documents: Iterator[Document], progress: Progress) -> tuple["hashlib._Hash", int]:
    """Pass over the documents that are written. Returns their hash and size in bytes."""
    digest, size = hashlib.sha256(), 0
    for document in islice(documents, progress.documents):
        hash_document(digest, document)
        size += document.size
    if digest.hexdigest() != progress.sha256:
        raise InputError(
            "the documents have changed since the output was begun. Choose another --output, or "
            "delete it"
        )
    return digest, size


def hash_document(digest: "hashlib._Hash", document: Document) -> None:
    digest.update(json.dumps(document.record).encode() + b"\n")


def form_chunks(documents: Iterable[Document], recognizer: Recognizer) -> Iterator[Chunk]:
    """Chunks of whole documents that have up to 1,024 sentences together, or one document."""
    chunk, count = [], 0
    for document in documents:
        sentences = recognizer.split(document.text)
        weight = max(1, len(sentences))  # a blank line takes memory too
        if chunk and count + weight > SENTENCES:
            yield chunk
            chunk, count = [], 0
        chunk.append((document, sentences))
        count += weight
    if chunk:
        yield chunk


def tag_chunk(
    recognizer: Recognizer, chunk: Chunk, output_format: str, bar: tqdm
) -> tuple[str, int]:
    """The tagged documents of a chunk as text, and how many of their sentences are incomplete."""
    size = sum(document.size for document, _ in chunk)
    count = sum(len(sentences) for _, sentences in chunk)
    found = recognizer.tag_sentences(
        [sentences for _, sentences in chunk], on_answer=lambda: bar.update(size / count)
    )
    lines = [
        FORMATS[output_format](document, sentences, names)
        for (document, sentences), names in zip(chunk, found, strict=True)
    ]
    return "".join(lines), sum(len(names.incomplete) for names in found)
