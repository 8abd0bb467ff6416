// Names that people use for combinations: one line each.

#include "core/policy.h"

namespace kvreplay {
namespace {

const RegisterPreset presets[] = {
    RegisterPreset{{"ada-snapkv", "snapkv+ada", "SnapKV with Ada-KV's head budgets", "Ada-KV, arXiv 2407.11550"}},
};

}  // namespace
}  // namespace kvreplay
