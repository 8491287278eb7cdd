"""Which weights of a model bitsandbytes leaves whole where its layers are held in 4 or 8 bits, told from its files.

It takes linear layers alone (0.50), and one whose weights are used past it, or asked in a form that it does not take,
breaks in the middle of the first step. Knows parameters and types; loads nothing.
"""

from tunesmith.model_folder.abilities import NO_LORA
from tunesmith.model_folder.facts import ModelFacts
from tunesmith.spec.training import TrainSpec

_KERNELS = dict.fromkeys(("bamba", "granitemoehybrid", "zamba2"), frozenset({"out_proj"}))
"""What computes the state on a GPU is handed these layers' weights (transformers 5.23)."""
_PAST = {**NO_LORA, **_KERNELS}
_LATENT_WORDS = """
axk1 axk2 bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots3_note dots3_note_text glm4_moe_lite glm5_next
glm5_next_text glm_moe_dsa hy_v4 kimi_linear longcat_flash minicpm3 mistral4 mistral_large4 mistral_large4_text youtu
"""
_LATENT = frozenset(_LATENT_WORDS.split())
"""Types that ask this layer once a head, in four dimensions; 8 bits take three (bitsandbytes 0.50)."""
_OF_LATENT = "kv_b_proj"


def bits_of(spec: TrainSpec) -> int:
    """In how many bits the frozen weights are held: 4, 8, or 0 where they are not quantised."""
    return 4 if spec.load_in_4bit else 8 if spec.load_in_8bit else 0


def whole_layers(model_type: str, bits: int) -> frozenset[str]:
    """The linear layers that stay whole, by the ends of their names.

    Args:
        model_type: As `config.json` says.
        bits: 4 or 8, of the others.
    """
    asked_by_heads = {_OF_LATENT} if bits == 8 and model_type in _LATENT else frozenset()
    return _PAST.get(model_type, frozenset()) | asked_by_heads


def unquantised_experts(facts: ModelFacts, spec: TrainSpec) -> str | None:
    """What is to be said where most of a model's memory is not made smaller; None where it is."""
    bits = bits_of(spec)
    if not bits or not (facts.has_stacked_experts or any(layer.experts for layer in facts.linear_layers)):
        return None
    said = (
        f"The experts of a model of the type `{facts.model_type}` are not held in {bits} bits: they lie in one "
        "tensor a layer, which bitsandbytes leaves whole. The estimate counts them so."
    )
    experts = sum(layer.shape[0] * layer.shape[1] * layer.experts for layer in facts.linear_layers)
    return f"{said} They are {experts / facts.parameters:.0%} of its weights." if experts else said
