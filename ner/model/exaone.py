"""EXAONE 3 for Transformers: a Llama whose parts have other names. No remote code.

Importing this module registers the model type `exaone`. `AutoConfig` and `AutoModelForCausalLM`
then read the hub's files as they are, in 4-bit too, and `save_pretrained` writes EXAONE's names
again.
"""

from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedConfig
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming

from ner.model.names import NAMES


class ExaoneConfig(PreTrainedConfig):
    """EXAONE 3's `config.json` under its own field names. Llama's modules use `attribute_map`.

    The defaults are those of EXAONE-3.0-7.8B-Instruct (7,818,448,896 parameters).
    """

    model_type = "exaone"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 -- Trainer adds to it
    default_theta = 500_000.0
    attribute_map = {  # noqa: RUF012 -- as in every configuration of Transformers
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

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs) -> "ExaoneConfig":
        """Read a `config.json`. LG's own class leaves `tie_word_embeddings` out if it is true."""
        return super().from_dict({"tie_word_embeddings": True} | config_dict, **kwargs)

    def to_dict(self) -> dict:
        """Write the rotary settings as EXAONE's `rope_theta` and `rope_scaling`."""
        fields = super().to_dict()
        rope = dict(fields.pop("rope_parameters"))
        fields["rope_theta"] = rope.pop("rope_theta")
        fields["rope_scaling"] = rope if rope["rope_type"] != "default" else None
        return fields

    def to_llama_dict(self) -> dict:
        """Write the same fields as a Llama's `config.json`."""
        names = {*ExaoneConfig.__annotations__, "rope_theta", "rope_scaling"}
        fields = {name: value for name, value in self.to_dict().items() if name in names}
        for llama, exaone in self.attribute_map.items():
            fields[llama] = fields.pop(exaone)
        return fields | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


class ExaoneForCausalLM(LlamaForCausalLM):
    """Transformers' own Llama, with EXAONE's configuration and weights."""

    config: ExaoneConfig


AutoConfig.register("exaone", ExaoneConfig)
AutoModelForCausalLM.register(ExaoneConfig, ExaoneForCausalLM)
register_checkpoint_conversion_mapping(
    "exaone", [WeightRenaming(exaone, llama) for exaone, llama in NAMES]
)
