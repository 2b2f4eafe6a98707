"""Step 3: publish the adapter on the Hugging Face Hub: its weights, its tokenizer and a card; nothing else.

Reads `EXAONE-3.0-7.8B-KLUE-NER-LoRA` (step 2), whose files stay as they are, and `evaluation/metrics.json` (step 4), if
that was measured with this very adapter. The weights of an EXAONE's adapter go out under EXAONE's own names, with a copy
of its licence. No model is loaded. The token is the login's (hf auth login) or HF_TOKEN. A repository that has to be
created is private unless --public. What is there already is not sent again, and no change makes no commit.

    python upload_hub.py --dry_run        the files and the card, on the screen
    python upload_hub.py
    python upload_hub.py --tag v1.0       a release
"""
import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, ModelCardData, get_token, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import load, save

from data_processing import KLUE, SYSTEM_PROMPTS, InputError, build_prompt, run_script
from exaone import (ADAPTER, ADAPTER_FILES, explain_hub_errors, hash_adapter, is_exaone, load_tokenizer,
                    read_adapter_config, rename_modules, to_exaone)
from report import SCORES, model_index

WAITS = [1, 2, 4]  # seconds before another try
LONGEST_WAIT = 60
# What a tokenizer's configuration says of where it was read.
TOKENIZER_ORIGIN = ["name_or_path", "tokenizer_file", "special_tokens_map_file", "is_local", "local_files_only"]
SENTENCE = "손흥민은 춘천에서 태어났다."
LOCAL_PATH = re.compile(r"~[^/\\]*[/\\]|\.{1,2}[/\\]|/[^/\s]|[A-Za-z]:[/\\]|\\\\|file:")

CARD = """\
# {name}

A LoRA adapter that makes [{base}](https://huggingface.co/{base}) a recogniser of Korean named entities: asked with a
sentence, the model answers with a JSON object of the names in it, by label: PS (person), LC (place), OG (organisation),
DT (date), TI (time) and QT (quantity). Trained with the project "EXAONE for KLUE-NER" on {data}.

## How to use it

In a checkout of that project, which needs no code from the base model's repository and turns answers into tags:

```python
{lines}
```

or, on the command line:

    python evaluate_hub.py --adapter {repo_id} --text "{sentence}"

{elsewhere}
## What it was trained to answer

Asked greedily, with this prompt ({prompt_name}) in the base model's own chat format:

````text
{chat}
````

it answers in one line, such as this, and stops:

    {{"PS": ["손흥민"], "LC": ["춘천"]}}

## How it was trained

{training}

## How well it does

{scores}

## Limits

- An answer names what is found but not where: a name that stands twice in a sentence, of which only one is an entity, can
  be put in the wrong place.
- It can name what is not in the sentence. Check each name against it, as the project does.
- {trained_on} is all it has learnt from; other kinds of text, other notations and other labels are untried.

## Licence

{licence}
"""

ELSEWHERE = """\
**Elsewhere; none of this was run by those who published it.** The tensors and the `target_modules` carry EXAONE's own
names (`transformer.h.N.attn.attention.out_proj`, `mlp.c_fc_0`, …), as the model's own code and vLLM have them. With the
base loaded as its own page says, as `model`:

```python
from peft import PeftModel
model = PeftModel.from_pretrained(model, "{repo_id}")
```

With vLLM, which may ask to run the code in the base's repository; whether it may is yours to decide:

    vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={repo_id}
"""

OTHERWISE = """\
**Elsewhere; this was not run by those who published it.** With the base model loaded as `model`:

```python
from peft import PeftModel
model = PeftModel.from_pretrained(model, "{repo_id}")
```
"""

LICENCE = """\
Under the licence of the model that it is derived from, of which `LICENSE` is a copy and by which you are bound: for EXAONE
3.0 the EXAONE AI Model License Agreement 1.1 - NC. By that, model, derivatives and output are **for research alone**; no
commercial use, nor any to develop or improve other models; derivatives are passed on with a copy of the agreement, under
a name that begins with "EXAONE", and remain, as the model and its output, the property of its licensor, LG Management
Development Institute Co., Ltd.; published results name the model ({base}, LG AI Research). There is no warranty."""


def is_hub_id(name: str) -> bool:
    """Whether a name can be one on the hub, and is not a local folder's."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def check_names(repo_id: str, base: str, trained_on: str) -> None:
    """Check that a repository can have this name, and may: the licence of its base model has a say. Raises InputError.

    EXAONE AI Model License 1.1-NC, 2.1 c: the name of a model derived from an EXAONE begins with EXAONE. `base` is the
    model as the hub knows it, `trained_on` what the adapter names.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id}: no name that a repository can have ({error})") from None
    if not is_hub_id(base):
        raise InputError(f"{base}: the adapter's base model is named by a place on this machine, which others do not have "
                         "and should not see. Say what it is on the hub: --base_model OWNER/NAME")
    if (is_exaone(base) or is_exaone(trained_on)) and not repo_id.rpartition("/")[2].startswith("EXAONE"):
        raise InputError(f"{repo_id}: the licence of {base} wants the name of a derived model to begin with EXAONE, "
                         f"such as {ADAPTER}. Choose another --repo_id")


def read_base_file(base: str, name: str, revision: str | None) -> str:
    """A small file of the base model, in its folder or on the hub. Raises InputError."""
    path = Path(base) / name
    if not Path(base).is_dir():
        with explain_hub_errors(base, f"Its {name} is wanted. Check the network and try again"):
            try:
                path = Path(hf_hub_download(base, name, revision=revision))
            except LocalEntryNotFoundError as error:
                raise error.__cause__ or error
            except EntryNotFoundError:
                pass
    if not path.is_file():
        raise InputError(f"{base}: holds no {name}, which is needed to publish what was made of it")
    return path.read_text(encoding="utf-8")


def list_local_paths(value: object, where: str) -> list[str]:
    """Where in a JSON value there are paths of a machine."""
    if isinstance(value, dict):
        return [path for name, item in value.items() for path in list_local_paths(item, f"{where}: {name}")]
    if isinstance(value, list):
        return [path for item in value for path in list_local_paths(item, where)]
    return [where] if isinstance(value, str) and LOCAL_PATH.match(value) else []


def collect_files(folder: Path, base: str, exaones_names: bool) -> dict[str, bytes]:
    """What goes to the hub of an adapter's folder: file name → content, by the list and in the words of others.

    Raises InputError where a file still tells a path of this machine.
    """
    files = {name: (folder / name).read_bytes() for name in ADAPTER_FILES if (folder / name).is_file()}
    for name in ("adapter_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if name not in files:
            continue
        try:
            content = json.loads(files[name])
            fields = {field: value for field, value in content.items() if field not in TOKENIZER_ORIGIN}
        except (ValueError, AttributeError) as error:
            raise InputError(f"{folder / name}: cannot be read ({error}). Train the adapter again: python train.py") from None
        if name == "adapter_config.json":
            fields |= {"base_model_name_or_path": base} | (rename_modules(fields, to_exaone) if exaones_names else {})
        if paths := list_local_paths(fields, name):
            raise InputError(f"{folder}: tells others a path of this machine ({'; '.join(paths)}). Take it out of that file first")
        files[name] = (json.dumps(fields, ensure_ascii=False, indent=2) + "\n").encode()
    if exaones_names:
        tensors = load(files["adapter_model.safetensors"])
        files["adapter_model.safetensors"] = save({to_exaone(name): tensor for name, tensor in tensors.items()},
                                                  metadata={"format": "pt"})
    return files


def read_metrics(path: Path, fingerprint: str, bases: set[str]) -> dict | None:
    """The metrics of step 4, or None, and a line that says why, unless they were measured with this adapter and base."""
    why = "is not there"
    if path.is_file():
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            settings = metrics.get("settings", {})
        except (ValueError, AttributeError) as error:
            raise InputError(f"{path}: is not what report.py writes ({error})") from None
        if settings.get("adapter_sha256") == fingerprint and settings.get("model") in bases:
            return metrics
        why = "was not measured with this adapter on this base"
    print(f"no scores on the card: {path} {why}")
    return None


def describe_training(run: dict) -> str:
    """Settings and library versions of `training.json`, but for what is a path."""
    if not run:
        return "Not recorded."
    settings = {name: value for name, value in run["settings"].items()
                if isinstance(value, int | float) or isinstance(value, str) and re.fullmatch(r"[\w.+-]+", value)}
    start = f", from an earlier adapter (fingerprint {run['adapter']['sha256']})" if "adapter" in run else ""
    return "\n".join([
        f"{run['steps']:,} steps{start}.",
        "", "| setting | value |", "|---|---|", *(f"| `{name}` | {value} |" for name, value in settings.items()),
        "", "With " + ", ".join(f"{name} {number}" for name, number in run["versions"].items()) + "."])


def describe_scores(metrics: dict | None) -> str:
    if metrics is None:
        return "Not measured with this very adapter, or not told."
    settings, about = metrics["settings"], model_index(metrics, metrics["settings"])[0]
    revision = f" (revision {about.dataset_revision})" if about.dataset_revision else ""
    return "\n".join([
        f"On {metrics['sentences']:,} sentences of the {about.dataset_split} split of {about.dataset_type}{revision}, asked with "
        f"the project's `{settings['prompt']}` prompt, the base in {settings['precision']}; with 95 % bootstrap intervals over the sentences:", "",
        "| score | F1 | 95 % | what it is |", "|---|---|---|---|",
        *(f"| {SCORES[name]['title']} | {figures['f1']['value']:.4f} | {figures['f1']['low']:.4f} – {figures['f1']['high']:.4f} "
          f"| {SCORES[name]['definition']} |" for name, figures in metrics["scores"].items())])


def write_card(repo_id: str, folder: Path, base: str, exaones_names: bool, metrics: dict | None) -> ModelCard:
    """The model's card, from what is known: the same whenever it is written."""
    config, record = read_adapter_config(folder), folder / "training.json"
    run = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    source = run["data"]["source"] if run else None
    prompt = (source or {}).get("prompt")
    from_hub = bool(source and source["revision"])
    dataset = source["dataset"] if from_hub else None
    data = "a corpus of its makers' own"
    if from_hub:
        data = (f"[{dataset}](https://huggingface.co/datasets/{dataset}) (revision {source['revision']}, {source['chats']:,} "
                f"sentences of its {source['split']} split{', CC BY-SA 4.0' if dataset == KLUE else ''})")
    name, precision = repo_id.rpartition("/")[2], run["settings"]["precision"] if run else "nf4"
    known = {"repo_id": repo_id, "base": base, "name": name, "rank": config["r"], "sentence": SENTENCE}
    revision, system = config.get("revision"), f'SYSTEM_PROMPTS["{prompt or "basic"}"]'
    lines = [
        "from evaluate_hub import SYSTEM_PROMPTS, build_prompt, find_adapter, load_recogniser, load_tokenizer",
        f'model = load_recogniser("{base}", {revision!r}, "{precision}", find_adapter("{repo_id}"))',
        f'tokenizer, chat = load_tokenizer("{base}", {revision!r}), build_prompt("{SENTENCE}", {system})',
        'inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt").to(model.device)',
        'print(tokenizer.decode(model.generate(**inputs, max_new_tokens=512, do_sample=False)[0, inputs["input_ids"].shape[1]:]))',
    ]
    chat = load_tokenizer(str(folder)).apply_chat_template(
        build_prompt(SENTENCE, SYSTEM_PROMPTS[prompt or "basic"]), add_generation_prompt=True, tokenize=False)
    licence = {"license": "other", "license_name": "exaone", "license_link": "LICENSE"} if is_exaone(base) else {}
    data_card = ModelCardData(
        base_model=base, base_model_relation="adapter", library_name="peft", **licence, language="ko",
        tags=["lora", "named-entity-recognition"], datasets=[dataset] if dataset else None, pipeline_tag="text-generation",
        **({"model_name": name, "eval_results": model_index(metrics, metrics["settings"])} if metrics else {}),
        system_prompt=prompt)  # evaluate_hub.py reads it
    body = CARD.format(
        **known, data=data, lines="\n".join(lines), elsewhere=(ELSEWHERE if exaones_names else OTHERWISE).format(**known),
        prompt_name=f"the project's `{prompt}`" if prompt else "the project's `basic`; which one it was is not recorded",
        chat=chat, training=describe_training(run), scores=describe_scores(metrics),
        trained_on=dataset or "That corpus",
        licence=(LICENCE if is_exaone(base) else "What the licence of [{base}](https://huggingface.co/{base}) says.").format(**known))
    return ModelCard(f"---\n{data_card.to_yaml()}\n---\n\n{body}")


def may_pass(error: Exception) -> float | None:
    """How long the hub wants to be left alone before another try that may go better; None if none will."""
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, HfHubHTTPError):
        if cause.response.status_code not in (408, 409, 429, 500, 502, 503, 504):
            return None
        seconds = cause.response.headers.get("Retry-After", "0")
        return float(seconds) if seconds.isdigit() and float(seconds) <= LONGEST_WAIT else None
    return 0 if isinstance(cause, HTTPError) else None


def insist(call: Callable[[], str]) -> str:
    """Call what speaks to the hub, and again where that may help: it busy, out of order, in conflict, or cut off."""
    for wait in WAITS:
        try:
            return call()
        except (HTTPError, OSError, RuntimeError) as error:
            asked = may_pass(error)
            if asked is None:
                raise
            print(f"the hub did not take it ({type(error.__cause__ or error).__name__}); trying again in {max(wait, asked):.0f} s")
            time.sleep(max(wait, asked))
    return call()


def publish(repo_id: str, files: dict[str, bytes], public: bool, branch: str | None, tag: str | None) -> str:
    """Bring a repository to hold these files; return what to tell. What is done already is not done again."""
    api = HfApi()
    url = api.create_repo(repo_id, private=not public, exist_ok=True)
    if branch:
        api.create_branch(repo_id, branch=branch, exist_ok=True)
    commit = api.create_commit(repo_id, [CommitOperationAdd(name, content) for name, content in files.items()],
                               commit_message="Upload LoRA adapter, tokenizer and card", revision=branch)
    if tag:
        tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo_id).tags}
        if tags.get(tag, commit.oid) != commit.oid:
            raise InputError(f"{url} has the files now, at {commit.oid[:7]}; but its tag {tag} stands at {tags[tag][:7]}, and a "
                             "release is not moved. Run the same command again with another --tag")
        if tag not in tags:
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return f"uploaded: {url} at {commit.oid[:7]}" + (f", tag {tag}" if tag else "")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, default=Path(ADAPTER), metavar="FOLDER",
                        help="the adapter's folder (default: %(default)s)")
    parser.add_argument("--repo_id", metavar="[OWNER/]NAME",
                        help="repository on the hub (default: the folder's name, in the login's namespace)")
    parser.add_argument("--base_model", metavar="OWNER/NAME",
                        help="the base model on the hub, where the adapter was trained on a copy in a folder "
                             "(default: the one the adapter names)")
    parser.add_argument("--metrics", type=Path, default=Path("evaluation/metrics.json"), metavar="FILE",
                        help="scores for the card; left out unless measured with this adapter (default: %(default)s)")
    parser.add_argument("--public", action="store_true", help="if the repository has to be created, make it public")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to commit to; made if need be (default: main)")
    parser.add_argument("--tag", metavar="NAME", help="name what is uploaded, as a release")
    parser.add_argument("--dry_run", action="store_true", help="print the files, their sizes and the card; send nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = read_adapter_config(args.adapter)
    trained_on, repo_id = config["base_model_name_or_path"], args.repo_id or args.adapter.resolve().name
    base = args.base_model or trained_on
    check_names(repo_id, base, trained_on)
    if not args.dry_run and get_token() is None:
        raise InputError("not logged in to the hub. Log in with a token that may write: hf auth login (or set HF_TOKEN)")
    advice = "Run the same command again: what is there already is not sent twice"
    if not args.dry_run and "/" not in repo_id:
        with explain_hub_errors(repo_id, advice):
            repo_id = f"{insist(HfApi().whoami)['name']}/{repo_id}"
    licence, exaones_names = {}, False
    if is_exaone(base) or is_exaone(trained_on):
        source = trained_on if Path(trained_on).is_dir() else base
        revision = config.get("revision") if source == trained_on else None
        # EXAONE 4 and later have Llama's names themselves.
        exaones_names = json.loads(read_base_file(source, "config.json", revision))["model_type"] == "exaone"
        licence = {"LICENSE": read_base_file(source, "LICENSE", revision).encode()}  # 2.1 d: it goes along
    metrics = read_metrics(args.metrics, hash_adapter(args.adapter), {base, trained_on})
    card = write_card(repo_id, args.adapter, base, exaones_names, metrics)
    files = collect_files(args.adapter, base, exaones_names) | licence | {"README.md": str(card).encode()}
    for name, content in sorted(files.items()):
        print(f"{len(content):>14,} bytes  {name}")
    if args.dry_run:
        print(f"\n{card}\ndry run: {len(files)} files for {repo_id}, nothing sent")
        return
    with explain_hub_errors(repo_id, advice):
        print(insist(lambda: publish(repo_id, files, args.public, args.revision, args.tag)))


if __name__ == "__main__":
    run_script(main)
