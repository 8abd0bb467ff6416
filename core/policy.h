#pragma once
// Policies: scorer x allocator, written `scorer[:param=value,...][+allocator[:param=value,...]]`.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/allocator.h"
#include "core/prompt_view.h"
#include "core/scorer.h"
#include "core/selection.h"

namespace kvreplay {

/// A name that people use for a combination.
struct Preset {
  std::string name;
  std::string policy;  ///< what it stands for, in the grammar above
  std::string summary;
  std::string paper;
};

const std::vector<Preset>& all_presets();
const Preset* find_preset(std::string_view name);
void add_preset(Preset preset);

struct RegisterPreset {
  explicit RegisterPreset(Preset preset) { add_preset(std::move(preset)); }
};

/// Names of all scorers and presets: what `--policy` takes and a replay runs by default, in alphabetical order.
std::vector<std::string> all_policy_names();

class Policy {
 public:
  /// \param extra  scorers besides the registered ones (scores made elsewhere)
  /// Throws UsageError: unknown name (with the known ones and the nearest), bad parameters, two allocators.
  explicit Policy(std::string_view text, std::span<const Scorer> extra = {});

  /// The name in results: what was asked for, with only the parameters that differ from the defaults.
  const std::string& name() const { return name_; }
  /// Scorer and allocator with every parameter.
  const std::string& complete() const { return complete_; }
  const Scorer& scorer() const { return scorer_; }

  /// What this policy asks of a trace that this sample cannot give at these candidates, as one clause; "" if nothing.
  std::string unmet_need(const SampleInfo& sample, Range candidates) const;

  /// The retained sets in one layer.
  /// \param view     of the layer; look-ahead is granted here, to oracles only
  /// \param budgets  [n_budgets] tokens per head, each at most view.n_candidates()
  LayerSelection select(const PromptView& view, std::span<const std::size_t> budgets) const;

 private:
  Scorer scorer_;
  const Allocator* allocator_;
  Parameters scorer_parameters_;
  Parameters allocator_parameters_;
  std::string name_;
  std::string complete_;
};

}  // namespace kvreplay
