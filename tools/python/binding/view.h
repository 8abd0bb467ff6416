#pragma once
// What a part of a policy that is written in Python sees of one layer: PromptView, with arrays of NumPy.

#include <nanobind/nanobind.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "core/evidence/prompt_view.h"
#include "tools/python/binding/arrays.h"

namespace kvreplay::python {

/// Arrays of what is recorded share its memory and keep it alive, also after the call that the view was made for. What
/// the engine has to compute can only be asked for during that call.
class View {
 public:
  explicit View(const PromptView& view) : view_(view) {}

  /// The call is over.
  void end() { ended_ = true; }
  const PromptView& prompt() const { return view_; }

  Floats3 keys() const;
  Floats3 values() const;
  Floats3 queries(std::optional<std::size_t> window) const;
  Floats3 evaluation_queries() const;
  Floats3 output_projection() const;
  std::optional<Floats1> block_cosine() const;

  Floats2 attention_sums(std::optional<std::size_t> window) const;
  Floats2 evaluation_attention() const;
  Floats2 attention_rows(std::size_t q_head, std::size_t window) const;
  Counts1 n_seen_by(std::optional<std::size_t> window) const;
  std::pair<Doubles2, Doubles3> query_moments(std::size_t sinks, std::size_t future) const;
  Floats2 value_norms(std::size_t order, bool projected) const;
  Floats3 unrotated_keys() const;
  Floats2 key_leverage() const;

 private:
  /// Calls compute() without the interpreter's lock.
  template <typename Compute>
  auto computed(const Compute& compute) const;
  std::shared_ptr<const PromptView> kept() const { return std::make_shared<const PromptView>(view_); }

  PromptView view_;
  bool ended_ = false;
};

void declare_view(nb::module_& m);

}  // namespace kvreplay::python
