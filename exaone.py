"""What EXAONE 3 is to Transformers: a Llama whose parts have other names. No remote code.

Importing this module registers the model type `exaone`, after which `AutoConfig` and
`AutoModelForCausalLM.from_pretrained("LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct")` read the hub's files as
they stand, in bfloat16 or in 4-bit, and `save_pretrained` writes EXAONE's names again. The loaders
below work for any causal language model of the hub.

Run as a script it writes a stand-in: a tiny random EXAONE in the hub's file layout, on which the
tests and `make rehearse` run the whole pipeline without a GPU, a network or a licence to accept.

    python exaone.py OUT_DIR
"""
import argparse
import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils.memory import should_reduce_batch_size
from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, get_token, snapshot_download, whoami
from huggingface_hub.errors import (DryRunError, GatedRepoError, HfHubHTTPError, HFValidationError,
                                    LocalEntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError,
                                    RevisionNotFoundError)
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from safetensors.torch import load_file, save
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig,
                          LlamaForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming

# On some CPUs bitsandbytes asks for a package that fetches native code from the hub: not here.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# PEFT imports bitsandbytes, so it comes after that.
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

from data_processing import (InputError, SYSTEM_PROMPTS, create_chat_dataset, find_room, get_id2label, load_split,
                             replace_folder, run_script)

ADAPTER = "EXAONE-3.0-7.8B-KLUE-NER-LoRA"  # the licence wants a name that begins with EXAONE
ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors", "added_tokens.json", "chat_template.jinja",
                 "merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
                 "tokenizer_config.json", "vocab.json"]
EXAONE = "LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct"
MODEL_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model", "merges.txt"]
LARGEST_CPU_MODEL = 1_000_000_000  # parameters; an epoch of a larger one takes days without a GPU

# PEFT and TRL still say it the old way.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


class ExaoneConfig(PreTrainedConfig):
    """EXAONE 3's `config.json` under its own field names; Llama's modules read it through `attribute_map`.

    The defaults are EXAONE-3.0-7.8B-Instruct's (7,818,448,896 parameters).
    """

    model_type = "exaone"
    keys_to_ignore_at_inference = ["past_key_values"]
    default_theta = 500_000.0
    attribute_map = {
        "num_hidden_layers": "num_layers",
        "rms_norm_eps": "layer_norm_epsilon",
        "hidden_act": "activation_function",
    }

    vocab_size: int = 102400
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int | None = None
    activation_function: str = "silu"
    max_position_embeddings: int = 4096
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 361
    tie_word_embeddings: bool = False
    rope_parameters: dict | None = None
    attention_bias: bool = False
    mlp_bias: bool = False

    def __post_init__(self, **kwargs):
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict:
        """Rotary settings go out as EXAONE's `rope_theta` and `rope_scaling`, as they came in."""
        fields = super().to_dict()
        rope = dict(fields.pop("rope_parameters"))
        fields["rope_theta"] = rope.pop("rope_theta")
        fields["rope_scaling"] = rope if rope["rope_type"] != "default" else None
        return fields


class ExaoneForCausalLM(LlamaForCausalLM):
    """Llama, computed by Transformers' own modules, from EXAONE's configuration and weights."""

    config: ExaoneConfig


AutoConfig.register("exaone", ExaoneConfig)
AutoModelForCausalLM.register(ExaoneConfig, ExaoneForCausalLM)
# EXAONE's names and Llama's. Loading applies each renaming in this order, saving takes them backwards.
NAMES = [
    ("transformer.wte.", "model.embed_tokens."),
    ("transformer.ln_f.", "model.norm."),
    ("transformer.h.", "model.layers."),
    (".ln_1.", ".input_layernorm."),
    (".ln_2.", ".post_attention_layernorm."),
    (".attn.attention.", ".self_attn."),
    (".out_proj.", ".o_proj."),
    (".c_fc_0.", ".gate_proj."),
    (".c_fc_1.", ".up_proj."),
    (".c_proj.", ".down_proj."),
]
register_checkpoint_conversion_mapping("exaone", [WeightRenaming(exaone, llama) for exaone, llama in NAMES])


def to_llama(name: str) -> str:
    """A tensor's or module's name, or a module's last part, in Llama's words. What is in them already stays.

    >>> to_llama("base_model.model.transformer.h.0.mlp.c_fc_0.lora_A.weight"), to_llama("out_proj")
    ('base_model.model.model.layers.0.mlp.gate_proj.lora_A.weight', 'o_proj')
    """
    name = f".{name}."
    for exaone, llama in NAMES:
        name = name.replace(exaone, llama)
    return name[1:-1]


def to_exaone(name: str) -> str:
    """The same name in EXAONE's words: `to_llama` backwards."""
    name = f".{name}."
    for exaone, llama in reversed(NAMES):
        name = name.replace(llama, exaone)
    return name[1:-1]


def rename_modules(config: dict, rename: Callable[[str], str]) -> dict:
    """The fields of an adapter's configuration that name modules, renamed. Raises InputError if they are a pattern."""
    targets = config["target_modules"]
    if isinstance(targets, str):
        raise InputError(f"the adapter's target_modules are a pattern, {targets}, which cannot be told in other names. "
                         "List the modules' names in its adapter_config.json instead")
    fields = {"target_modules": type(targets)(map(rename, targets))}
    for field in ("rank_pattern", "alpha_pattern"):
        fields[field] = {rename(name): value for name, value in (config.get(field) or {}).items()}
    return fields


def find_adapter(name: str) -> Path | None:
    """The folder of an adapter: a local one, or a hub repository's, downloaded. None for the name `none`.

    A name without a namespace that is no folder here is looked for under the login's own; what follows an @ is a branch,
    tag or commit. Raises InputError.
    """
    if name == "none":
        return None
    folder = Path(name)
    if not folder.is_dir():
        name, _, revision = name.partition("@")
        with explain_hub_errors(name, "Check the network and try again, or name a local folder"):
            if "/" not in name:
                if get_token() is None:
                    raise InputError(f"{name}: no such folder. Train it first (python train.py), give the adapter's id "
                                     "on the hub as owner/name, or log in to find your own: hf auth login")
                name = f"{whoami()['name']}/{name}"
            folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=[*ADAPTER_FILES, "README.md"]))
    read_adapter_config(folder)
    return folder


def read_adapter_config(folder: Path) -> dict:
    """An adapter's configuration. Raises InputError unless `folder` holds an adapter of a named base model."""
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(f"{folder}: holds no {file}, so it is not an adapter. Train one: python train.py")
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if not isinstance(config["base_model_name_or_path"], str):
            raise ValueError("no name of a base model")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'adapter_config.json'}: is not what PEFT writes ({error})") from None
    return config


def read_adapter(folder: Path, model_type: str) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    """An adapter's configuration and tensors for a base in memory: EXAONE 3's under Llama's names, whichever it has."""
    config, tensors = PeftConfig.from_pretrained(folder), load_file(folder / "adapter_model.safetensors")
    config.base_model_name_or_path = None  # PEFT puts in the base it comes to stand on
    config.inference_mode = False  # as saved it is True, which freezes the adapter: nothing could train it or find it among the parameters
    if model_type == ExaoneConfig.model_type:
        for field, value in rename_modules(vars(config), to_llama).items():
            setattr(config, field, value)
        tensors = {to_llama(name): tensor for name, tensor in tensors.items()}
    return config, tensors


def fill_adapter(model: PeftModel, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Put an adapter's tensors, those of `folder`, into a model. Raises InputError unless each is in it afterwards.

    PEFT says nothing of tensors that fit nothing, and the base then answers alone.
    """
    try:
        set_peft_model_state_dict(model, tensors)
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise InputError(f"{folder}: the adapter's tensors have other sizes than this base model's projections: it was "
                         "trained on another (--model)") from None
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    lost = [name for name in tensors.keys() | loaded.keys() if name not in tensors or name not in loaded
            or not torch.equal(tensors[name], loaded[name].cpu().to(tensors[name].dtype))]
    if lost or not tensors:
        raise InputError(f"{folder}: {len(lost)} of the adapter's {len(tensors)} tensors did not load, such as "
                         f"{sorted(lost)[:1]}. It was trained on another base model (--model) or is damaged")


def hash_adapter(folder: Path) -> str:
    """A fingerprint of an adapter's tensors, the same under EXAONE's names and under Llama's."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return hashlib.sha256(save({to_llama(name): tensor for name, tensor in tensors.items()})).hexdigest()


def is_exaone(name: str) -> bool:
    """Whether a base model is an EXAONE, whose licence wants derived models named EXAONE…

    `name` is a hub id or a local folder, whose `config.json` is looked at.
    """
    config = Path(name) / "config.json"
    if config.is_file():
        return json.loads(config.read_text(encoding="utf-8")).get("model_type", "").startswith("exaone")
    return "exaone" in name.lower()


@contextmanager
def explain_hub_errors(name: str, advice: str):
    """Turn what the hub answers about a repository into an InputError; `advice` says what to do if it fails to answer."""
    page = f"{constants.ENDPOINT}/{name}"
    try:
        yield
    except GatedRepoError:
        raise InputError(f"{name} is gated and this machine has no access to it. Accept its terms on {page}, "
                         "then log in: hf auth login") from None
    except RevisionNotFoundError:
        raise InputError(f"{name} has no such revision; see {page}/commits") from None
    except HFValidationError as error:
        raise InputError(f"{name}: no such folder, and no name that a repository can have ({error})") from None
    except RepositoryNotFoundError:
        raise InputError(f"{name}: no such folder, and nothing of that name on the hub that this login may see. "
                         "Check the name; if it is private, log in: hf auth login") from None
    except (HTTPError, OSError, RuntimeError) as error:
        # A failed transfer of a large file comes as a RuntimeError around the hub's answer.
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, (HTTPError, OSError)):
            raise
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        if status == 401:
            raise InputError("the hub does not accept this machine's token. Log in again: hf auth login, or renew "
                             "HF_TOKEN") from None
        if status == 403:
            raise InputError(f"{name}: this login has no right to it. Use a token that may write there: "
                             "hf auth login") from None
        if status == 429 and (seconds := cause.response.headers.get("Retry-After")):
            advice = f"It wants {seconds} seconds of peace first. {advice}"
        what = f"answered with an error ({status})" if status else f"cannot be reached ({type(cause).__name__})"
        raise InputError(f"{name}: the hub {what}. {advice}") from None


def check_base(name: str, revision: str | None = None) -> str | None:
    """Check that a base model can be had, before anything is downloaded; return its commit on the hub.

    Looked at: the folder or repository exists and holds a model, the account may read it, the disk holds what is
    still to be downloaded. Returns None for a local folder. Without a network a complete copy in the cache will do.
    Raises InputError.
    """
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise InputError(f"{name}: holds no config.json, so it is not a model's folder")
        return None
    with explain_hub_errors(name, "The cache holds no complete copy either. Check the network and try again; "
                                  "`make rehearse` runs without one"):
        try:
            with quiet_hub():
                files = snapshot_download(name, revision=revision, allow_patterns=MODEL_FILES, dry_run=True)
        except (DryRunError, LocalEntryNotFoundError, OfflineModeIsEnabled) as unreachable:
            try:
                return Path(snapshot_download(name, revision=revision, allow_patterns=MODEL_FILES,
                                              local_files_only=True)).name
            except LocalEntryNotFoundError:
                raise unreachable.__cause__ or unreachable
        if any(file.will_download for file in files):
            HfApi().auth_check(name)
    names = {file.filename for file in files}
    if "config.json" not in names or not any(file.endswith(".safetensors") for file in names):
        raise InputError(f"{name}: holds no config.json and safetensors, so it is not a model that Transformers can load")
    missing = sum(file.file_size or 0 for file in files if file.will_download)
    cache = Path(constants.HF_HUB_CACHE)
    free = find_room(cache)
    if missing > free:
        raise InputError(f"{name}: {missing / 1e6:,.1f} MB to download, but {cache} has {free / 1e6:,.1f} MB free. "
                         "Free some, or set HF_HOME to a folder on a larger disk")
    return files[0].commit_hash


@contextmanager
def quiet_hub():
    """No progress bars for what only looks."""
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def download_base(name: str, revision: str | None) -> None:
    """Fetch a base model whole, so that its copy in the cache serves without a network from then on."""
    if not Path(name).is_dir():
        with explain_hub_errors(name, "Run the same command again: the download goes on where it stopped"):
            snapshot_download(name, revision=revision, allow_patterns=MODEL_FILES)


def load_config(name: str, revision: str | None = None) -> PreTrainedConfig:
    """A base model's configuration. Raises InputError where only remote code could read it."""
    try:
        return AutoConfig.from_pretrained(name, revision=revision)
    except (ValueError, KeyError) as error:
        raise InputError(f"{name}: Transformers cannot read its configuration without running the repository's "
                         f"code, which this project never does ({str(error).splitlines()[0]})") from error


def get_process() -> PartialState:
    """This process among those that `accelerate launch` started. Unless told, Accelerate takes each for alone on a CPU."""
    # While one downloads or scores, the others wait: NCCL alone would give up on it after ten minutes.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=12))


def build_empty(config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a configuration without its weights, to count on."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def find_projections(model: PreTrainedModel) -> list[torch.nn.Linear]:
    """The linear layers but the head: what 4-bit quantisation packs and LoRA adapts. Seven a layer in EXAONE."""
    head = model.get_output_embeddings()
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]


def estimate_weight_bytes(model: PreTrainedModel, precision: str) -> float:
    """Memory of a base model's weights: 2 bytes a parameter in bfloat16 and 4 in float32; in NF4 the projections take
    4.127 bits (QLoRA, section 3: a 4-bit value, and the scales of double quantisation) and the rest stays in bfloat16."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    packed = sum(layer.weight.numel() for layer in find_projections(model))
    return {"nf4": 2 * (parameters - packed) + 4.127 / 8 * packed, "bfloat16": 2 * parameters, "float32": 4 * parameters}[precision]


def check_device(name: str, model: PreTrainedModel, precision: str, working_bytes: float) -> None:
    """Check that this machine can hold a model and `working_bytes` beside it. Raises InputError."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    needed = estimate_weight_bytes(model, precision) + working_bytes
    if not torch.cuda.is_available():
        if parameters > LARGEST_CPU_MODEL:
            raise InputError(f"{name} has {parameters / 1e9:.1f} billion parameters and needs a CUDA GPU with about "
                             f"{needed / 1e9:.0f} GB free; PyTorch {torch.__version__} (CUDA {torch.version.cuda}) finds none here. Does nvidia-smi, "
                             "and is its driver new enough for that CUDA? "
                             "Rent one of 24 GB, such as an RTX 4090, or see the whole pipeline at work without: make rehearse")
        return
    if torch.cuda.device_count() > 1 and get_process().num_processes == 1:
        raise InputError(f"{torch.cuda.device_count()} GPUs are visible to one process. Use all of them: accelerate launch before the "
                         "script's name instead of python; or one: CUDA_VISIBLE_DEVICES=0")
    device = get_process().device
    free, _ = torch.cuda.mem_get_info(device)
    if needed > free:
        raise InputError(f"{name} needs about {needed / 1e9:.0f} GB of GPU memory; {torch.cuda.get_device_name(device)} "
                         f"has {free / 1e9:.0f} GB free. End what else runs on it (nvidia-smi), lower --batch_size "
                         "or, in training, --max_length, or rent a card of 24 GB, such as an RTX 4090")


def is_out_of_memory(error: Exception) -> bool:
    return (isinstance(error, MemoryError) or should_reduce_batch_size(error)
            or any(sign in str(error) for sign in ("CUDA error: out of memory", "ALLOC_FAILED")))


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A base model's tokenizer, padding included.

    EXAONE's is read from its `tokenizer.json` alone: AutoTokenizer would rebuild the class that its
    configuration names and lose the file's own normaliser and pre-tokeniser (transformers issue 45920).
    """
    loader = PreTrainedTokenizerFast if is_exaone(name) else AutoTokenizer
    try:
        tokenizer = loader.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: its tokenizer cannot be read ({str(error).splitlines()[0]})") from error
    if tokenizer.chat_template is None:
        raise InputError(f"{name} has no chat template, so it cannot be asked anything; choose an instruct model")
    if tokenizer.pad_token is None:
        # Only models without a padding token of their own come here. Padding carries neither attention nor loss.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def find_end_tokens(name: str, tokenizer: PreTrainedTokenizerBase, revision: str | None = None) -> list[int]:
    """Ids at which a model stops: the tokenizer's EOS and those of `generation_config.json`, where there is one."""
    ends = {tokenizer.eos_token_id}
    try:
        listed = GenerationConfig.from_pretrained(name, revision=revision).eos_token_id
    except OSError:
        listed = None
    ends.update([listed] if isinstance(listed, int) else listed or [])
    return sorted(ends)


def load_model(name: str, revision: str | None = None, precision: str = "nf4") -> PreTrainedModel:
    """A base model on this process's device: `nf4` (4-bit, double quantisation, bfloat16 compute), or unquantised."""
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                      bnb_4bit_compute_dtype=torch.bfloat16)
    return AutoModelForCausalLM.from_pretrained(
        name,
        revision=revision,
        dtype=torch.float32 if precision == "float32" else torch.bfloat16,
        quantization_config=quantization if precision == "nf4" else None,
        device_map={"": get_process().local_process_index if torch.cuda.is_available() else "cpu"},
    )


CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if loop.first and message['role'] != 'system' -%}{{ '[|system|][|endofturn|]\n' }}{%- endif -%}"
    "{{ '[|' + message['role'] + '|]' + message['content'] + ('\n' if message['role'] == 'user' else '[|endofturn|]\n') }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '[|assistant|]' }}{%- endif -%}"
)


def train_tokenizer(texts: list[str], vocab_size: int = 2000) -> Tokenizer:
    """A byte-level BPE with EXAONE's special tokens, [PAD] 0 and [BOS] 1 as there."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["[PAD]", "[BOS]", "[EOS]", "[UNK]", "[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"]))
    return tokenizer


def write_stand_in(folder: Path) -> None:
    """Write a tiny random EXAONE in the hub's file layout: what the real repository holds, in small.

    Its configuration names remote code and a tokenizer class that would read it wrongly, as the hub's does.
    The weights are wide enough (standard deviation 0.15) for a frozen head that LoRA can steer.
    """
    rows = load_split(str(Path(__file__).parent / "data" / "sample"), "train")
    chats = create_chat_dataset(rows, get_id2label(rows))
    texts = [*SYSTEM_PROMPTS.values(), *(message["content"] for chat in chats for message in chat["messages"][1:])]
    backend = train_tokenizer(texts)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", bos_token="[BOS]",
                                        eos_token="[|endofturn|]", unk_token="[UNK]")
    tokenizer.chat_template = CHAT_TEMPLATE
    config = ExaoneConfig(
        vocab_size=backend.get_vocab_size(), hidden_size=128, intermediate_size=256, num_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.15,
        eos_token_id=tokenizer.eos_token_id, architectures=["ExaoneForCausalLM"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ExaoneForCausalLM(config)
    patches = {
        "config.json": {"auto_map": {"AutoConfig": "configuration_exaone.ExaoneConfig",
                                     "AutoModelForCausalLM": "modeling_exaone.ExaoneForCausalLM"}},
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"},
    }
    with replace_folder(folder, "config.json") as part:
        model.save_pretrained(part, max_shard_size="1MB")
        tokenizer.save_pretrained(part)
        backend.model.save(str(part))  # vocab.json and merges.txt
        (part / "LICENSE").write_text("Random weights, made by exaone.py, under the licence of the project: Apache-2.0.\n")
        for name, fields in patches.items():
            saved = json.loads((part / name).read_text(encoding="utf-8"))
            (part / name).write_text(json.dumps(saved | fields, indent=2) + "\n", encoding="utf-8")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{folder}: a random EXAONE of {parameters:,} parameters, {config.vocab_size:,} tokens")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder for the stand-in; made if need be")
    write_stand_in(parser.parse_args(argv).out_dir)


if __name__ == "__main__":
    run_script(main)
