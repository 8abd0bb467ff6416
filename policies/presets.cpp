// Names that people use for combinations: one line each.

#include "core/policy.h"

namespace kvreplay {
namespace {

const RegisterPreset presets[] = {
    RegisterPreset{{"ada-snapkv", "snapkv+ada", "SnapKV with Ada-KV's head budgets", "Ada-KV, arXiv 2407.11550"}},
    RegisterPreset{{"attention-score", "attention", "plain attention of the prompt queries on a token", ""}},
    RegisterPreset{{"chunkkv", "snapkv+chunk", "SnapKV by chunks", "ChunkKV, arXiv 2502.00299"}},
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
    RegisterPreset{{"squeeze-streaming", "streaming-llm+squeeze", "StreamingLLM with SqueezeAttention's layer budgets",
                    "SqueezeAttention, arXiv 2404.04793"}},
    RegisterPreset{{"squeeze-h2o", "h2o+squeeze", "H2O with SqueezeAttention's layer budgets",
                    "SqueezeAttention, arXiv 2404.04793"}},
    RegisterPreset{{"time-window", "streaming-llm:sinks=0", "the newest tokens", ""}},
};

}  // namespace
}  // namespace kvreplay
