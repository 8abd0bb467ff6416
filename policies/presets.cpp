// Names that people use for combinations: one line each.

#include "core/contracts/policy.h"

namespace kvreplay {
namespace {

const RegisterPreset presets[] = {
    RegisterPreset{{"ada-expected-attention", "expected-attention:epsilon=0.01+ada",
                    "Expected Attention with Ada-KV's head budgets", "Expected Attention, arXiv 2510.00636"}},
    RegisterPreset{{"ada-snapkv", "snapkv+ada", "SnapKV with Ada-KV's head budgets", "Ada-KV, arXiv 2407.11550"}},
    RegisterPreset{{"attention-score", "attention", "plain attention of the prompt queries on a token", ""}},
    RegisterPreset{{"cake", "cake+cake", "CAKE: its scores and its layer budgets", "CAKE, arXiv 2503.12491"}},
    RegisterPreset{{"capkv-pooled", "capkv+capacity",
                    "CapKV, heads of all layers pooled by the capacity that they lose",
                    "after CapKV, arXiv 2604.25975"}},
    RegisterPreset{{"chunkkv", "snapkv+chunk", "SnapKV by chunks", "ChunkKV, arXiv 2502.00299"}},
    RegisterPreset{{"critical-adakv", "snapkv+critical+ada", "SnapKV in two stages with Ada-KV's head budgets",
                    "CriticalKV, arXiv 2502.03805"}},
    RegisterPreset{{"critical-expected-attention", "expected-attention:value_norm=no+critical",
                    "Expected Attention in two stages", "CriticalKV, arXiv 2502.03805"}},
    RegisterPreset{{"critical-snapkv", "snapkv+critical", "SnapKV in two stages", "CriticalKV, arXiv 2502.03805"}},
    RegisterPreset{{"defensivekv", "defensive+top-mass+ada:alpha=0", "DefensiveKV: worst-case scores, heads pooled",
                    "DefensiveKV, arXiv 2510.13334"}},
    RegisterPreset{{"duoattention", "streaming-llm:sinks=128+duo",
                    "retrieval heads keep everything, the others sinks and recent tokens",
                    "DuoAttention, arXiv 2410.10819"}},
    RegisterPreset{{"kvzip", "kvzip+global", "KVzip: all heads of all layers pooled", "KVzip, arXiv 2505.23416"}},
    RegisterPreset{{"lava", "lava+lava", "LAVa: its scores, layer and head budgets", "LAVa, arXiv 2509.09754"}},
    RegisterPreset{{"layer-defensivekv", "defensive+top-mass+global",
                    "Layer-DefensiveKV: all heads of all layers pooled", "DefensiveKV, arXiv 2510.13334"}},
    RegisterPreset{{"lkv", "lkv+learned", "a learned scorer with the head budgets in the same file",
                    "LKV, arXiv 2605.06676, after its description"}},
    RegisterPreset{{"lkv-q", "lkv-q+learned",
                    "a learned scorer that sees the last prompt queries, with the head budgets in the same file", ""}},
    RegisterPreset{{"observed-attention", "attention", "mean attention of all prompt queries, nothing protected",
                    "kvpress's ObservedAttentionPress, after H2O, arXiv 2306.14048"}},
    RegisterPreset{{"pyramidkv", "snapkv+pyramid", "SnapKV with budgets that fall from layer to layer",
                    "PyramidKV, arXiv 2406.02069"}},
    RegisterPreset{{"random-protected", "random+protect:first_share=0.1,recent_share=0.1",
                    "a fair draw between two reserved boundaries, a tenth of the budget each",
                    "boundary protection: arXiv 2605.18053; a baseline"}},
    RegisterPreset{{"random-sinks-recent", "random+protect:sinks=4,recent=64",
                    "a fair draw between the sinks and a recent window",
                    "Random Attention, arXiv 2609.03430; a baseline"}},
    RegisterPreset{{"scissorhands", "attention:dialect=scissorhands", "mean attention of the last 400 queries",
                    "Scissorhands, arXiv 2305.17118, in its common simplification"}},
    RegisterPreset{{"simlayerkv", "streaming-llm+simlayer",
                    "lazy layers keep sinks and recent tokens, others everything", "SimLayerKV, arXiv 2410.13846"}},
    RegisterPreset{{"squeeze-h2o", "h2o+squeeze", "H2O with SqueezeAttention's layer budgets",
                    "SqueezeAttention, arXiv 2404.04793"}},
    RegisterPreset{{"squeeze-streaming", "streaming-llm+squeeze", "StreamingLLM with SqueezeAttention's layer budgets",
                    "SqueezeAttention, arXiv 2404.04793"}},
    RegisterPreset{{"time-window", "streaming-llm:sinks=0", "the newest tokens", ""}},
    RegisterPreset{{"vatp", "h2o+value-norm+protect:sinks=20", "H2O times the norm of the value, sinks kept",
                    "VATP, arXiv 2406.12335"}},
};

}  // namespace
}  // namespace kvreplay
