"""What transformers 5.23.0 cannot do with a type of model, by `model_type`.

Written by `infra/scripts/architectures.py`; not to be changed by hand. Stamp: 6137daceaa086220
"""

_KNOWN_WORDS = """
afmoe apertus arcee aria_text axk1 axk2 bailing_hybrid bamba bart beam bert bert-generation big_bird bigbird_pegasus
biogpt bitnet blenderbot blenderbot-small bloom blt camembert codegen cohere cohere2 cohere2_moe cohere_compass_text
cpmant ctrl cwm data2vec-text dbrx deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 diffllama doge dots1 dots3_note
dots3_note_text electra emu3 ernie ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo
flint fuyu gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_assistant gemma4_text gemma4_unified
gemma4_unified_assistant gemma4_unified_text git glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa got_ocr2 gpt-sw3 gpt2
gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
granitemoehybrid granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4 hyperclovax
inkling2_text inkling_text internlm3 iquestcoder jais2 jamba jetmoe kimi_linear kolibri1 laguna lfm2 lfm2_moe lfm3
llama llama4 llama4_text longcat_flash mamba mamba2 marian mbart megatron-bert mellum mimo_v2_flash minicpm3 minimax
minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral mllama modernbert-decoder moshi
moss_transcribe_diarize mpt musicgen musicgen_melody mvp nanochat nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid
olmoe openai-gpt opt pegasus persimmon phi phi3 phi4_multimodal phimoe plbart prophetnet qwen2 qwen2_moe qwen3
qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next qwen4_exp qwen4_exp_text recurrent_gemma
reformer rembert roberta roberta-prelayernorm roc_bert roformer rwkv seed_oss smollm3 solar_open stablelm starcoder2
trocr vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod youtu zamba zamba2 zaya
"""
KNOWN = frozenset(_KNOWN_WORDS.split())
"""Every type that it has a causal language model of."""

_NO_CLASSIFIER_WORDS = """
afmoe apertus aria_text bailing_hybrid bamba beam bert-generation bitnet blenderbot blenderbot-small blt codegen
cohere cohere2 cohere2_moe cpmant cwm dbrx deepseek_v32 deepseek_v4 dots1 dots3_note dots3_note_text emu3 ernie4_5
ernie4_5_moe exaone_moe falcon_h1 falcon_mamba flex_olmo flint fuyu gemma3n gemma3n_text gemma4 gemma4_assistant
gemma4_text gemma4_unified gemma4_unified_assistant gemma4_unified_text git glm4_moe glm4_moe_lite glm_moe_dsa
got_ocr2 gpt_neox_japanese granite granite_swa granitemoe granitemoe_swa granitemoehybrid granitemoeshared hrm_text
hy_v3 hy_v4 hyperclovax inkling2_text inkling_text internlm3 iquestcoder jais2 kimi_linear kolibri1 laguna lfm2
lfm2_moe lfm3 llama4 llama4_text longcat_flash mamba mamba2 marian mellum mimo_v2_flash minimax_m2
minimax_m3_vl_text mllama moshi moss_transcribe_diarize musicgen musicgen_melody nanochat nemotron_h olmo_hybrid
olmoe pegasus phi4_multimodal prophetnet qwen3_5_moe qwen3_5_moe_text qwen4_exp qwen4_exp_text recurrent_gemma rwkv
solar_open trocr vaultgemma whisper xglm xlstm youtu zaya
"""
NO_CLASSIFIER = frozenset(_NO_CLASSIFIER_WORDS.split())
"""Those that it cannot load as a classifier."""

_NO_CHECKPOINTING_WORDS = """
cpmant ctrl gpt_neox_japanese jetmoe openai-gpt reformer xlm xlnet
"""
NO_CHECKPOINTING = frozenset(_NO_CHECKPOINTING_WORDS.split())
"""Those that keep every activation: there is no gradient checkpointing."""

_NO_SDPA_WORDS = """
big_bird bigbird_pegasus bloom codegen cpmant deepseek_v4 falcon_mamba flint gemma2 git got_ocr2 gpt_neo
gpt_neox_japanese gpt_oss gptj granite_swa granitemoe_swa hy_v4 inkling2_text mamba mamba2 megatron-bert
mimo_v2_flash mpt mvp openai-gpt prophetnet reformer rembert roformer rwkv trocr vaultgemma xglm xlm xlnet xlstm
"""
NO_SDPA = frozenset(_NO_SDPA_WORDS.split())
"""Those whose attention is not PyTorch's own."""

_NO_FLASH_WORDS = """
axk2 big_bird bigbird_pegasus bloom blt codegen cpmant deepseek_v32 deepseek_v4 doge dots3_note dots3_note_text
falcon_mamba git glm_moe_dsa got_ocr2 gpt_neox_japanese hy_v4 inkling2_text inkling_text llama4 llama4_text mamba
mamba2 megatron-bert minimax_m3_vl_text mllama mpt mvp openai-gpt prophetnet qwen4_exp qwen4_exp_text reformer
rembert roformer rwkv trocr xglm xlm xlnet xlstm
"""
NO_FLASH = frozenset(_NO_FLASH_WORDS.split())
"""Those that flash attention cannot compute."""
