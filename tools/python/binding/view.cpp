#include "tools/python/binding/view.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <span>
#include <stdexcept>
#include <vector>

#include "core/base/count.h"
#include "core/evidence/key_leverage.h"
#include "core/evidence/query_moments.h"
#include "core/evidence/value_norms.h"
#include "core/evidence/window_attention.h"

namespace kvreplay::python {

template <typename Compute>
auto View::computed(const Compute& compute) const {
  if (ended_) throw std::runtime_error("the call that this view was made for is over: keep its arrays, not the view");
  const nb::gil_scoped_release released;
  return compute();
}

Floats3 View::keys() const {
  return stacked(
      view_.model().n_kv_heads, [&](std::size_t h) { return view_.keys(h); }, kept());
}

Floats3 View::values() const {
  return stacked(
      view_.model().n_kv_heads, [&](std::size_t h) { return view_.values(h); }, kept());
}

Floats3 View::queries(std::optional<std::size_t> window) const {
  return stacked(
      view_.model().n_q_heads, [&](std::size_t h) { return view_.queries(h, window.value_or(kAll)); }, kept());
}

Floats3 View::evaluation_queries() const {
  return stacked(
      view_.model().n_q_heads, [&](std::size_t h) { return view_.evaluation_queries(h); }, kept());
}

Floats3 View::output_projection() const {
  return stacked(
      view_.model().n_q_heads, [&](std::size_t h) { return view_.output_projection(h); }, kept());
}

std::optional<Floats1> View::block_cosine() const {
  const std::span<const float> cosine = view_.block_cosine();
  if (cosine.empty()) return std::nullopt;
  const std::size_t shape[] = {cosine.size()};
  return Floats1(cosine.data(), 1, shape, keeper(kept()));
}

Floats2 View::attention_sums(std::optional<std::size_t> window) const {
  const Tensor* sums = computed([&] { return &view_.attention_sums(window.value_or(kAll)); });
  return as_array(sums->matrix(0), kept());
}

Floats2 View::evaluation_attention() const {
  const Tensor* sums = computed([&] { return &view_.evaluation_attention(); });
  return as_array(sums->matrix(0), kept());
}

Floats2 View::attention_rows(std::size_t q_head, std::size_t window) const {
  if (q_head >= view_.model().n_q_heads) throw nb::index_error("there is no such query head");
  const auto rows =
      computed([&] { return std::make_shared<const Tensor>(kvreplay::attention_rows(view_, q_head, window)); });
  return as_array(rows->matrix(0), rows);
}

Counts1 View::n_seen_by(std::optional<std::size_t> window) const {
  std::vector<std::int64_t> counts(view_.n_candidates());
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts[i] = static_cast<std::int64_t>(view_.n_seen_by(i, window.value_or(kAll)));
  const std::size_t n = counts.size();
  return Counts1(owned(std::move(counts), {n}));
}

std::pair<Doubles2, Doubles3> View::query_moments(std::size_t sinks, std::size_t future) const {
  if (sinks >= view_.n_candidates() || future == 0)
    throw nb::value_error("query_moments: sinks must leave a token, and future must be at least 1");
  const QueryMoments* moments = computed([&] { return &future_queries(view_, sinks, future); });
  const std::size_t n = moments->covariance.size(), d = view_.model().head_dim;
  std::vector<double> mean(n * d), covariance(n * d * d);
  for (std::size_t h = 0; h < n; ++h)
    for (std::size_t i = 0; i < d; ++i) {
      mean[h * d + i] = moments->mean(h, i);
      for (std::size_t j = 0; j < d; ++j) covariance[(h * d + i) * d + j] = moments->covariance[h](i, j);
    }
  return {Doubles2(owned(std::move(mean), {n, d})), Doubles3(owned(std::move(covariance), {n, d, d}))};
}

Floats2 View::value_norms(std::size_t order, bool projected) const {
  if (order != 1 && order != 2) throw nb::value_error("value_norms: order must be 1 or 2");
  const Norm norm = order == 1 ? Norm::l1 : Norm::l2;
  const Tensor* norms =
      computed([&] { return projected ? &projected_value_norms(view_, norm) : &kvreplay::value_norms(view_, norm); });
  return as_array(norms->matrix(0), kept());
}

Floats3 View::unrotated_keys() const {
  const Tensor* keys = computed([&] { return &kvreplay::unrotated_keys(view_); });
  return stacked(
      keys->count(), [&](std::size_t h) { return keys->matrix(h); }, kept());
}

Floats2 View::key_leverage() const {
  const Tensor* leverage = computed([&] { return &kvreplay::key_leverage(view_, {0, view_.n_candidates()}, kAll); });
  return as_array(leverage->matrix(0), kept());
}

namespace {

std::string text_of(const View& self) {
  const PromptView& view = self.prompt();
  return "<View of layer " + std::to_string(view.layer().index) + ", sample " + std::to_string(view.unit().sample) +
         "@" + view.unit().compression_point + ": " + std::to_string(view.n_candidates()) + " tokens, " +
         std::to_string(view.model().n_kv_heads) + " KV heads, " + std::to_string(view.model().n_q_heads) +
         " query heads>";
}

}  // namespace

void declare_view(nb::module_& m) {
  using namespace nb::literals;
  const auto of_prompt = [](auto read) { return [read](const View& self) { return read(self.prompt()); }; };
  const auto share = nb::rv_policy::reference;  // arrays name their owners themselves
  nb::class_<View>(m, "View",
                   "One layer of one sample at its compression point, as a policy sees it when it acts. Token i stands "
                   "at position first_position + i. Arrays are float32 and read-only, and share the recorded memory.")
      .def_prop_ro("layer", of_prompt([](const PromptView& v) { return v.layer().index; }), "int: the model's layer")
      .def_prop_ro("sample", of_prompt([](const PromptView& v) { return v.unit().sample; }), "int: index in the trace")
      .def_prop_ro("compression_point", of_prompt([](const PromptView& v) { return v.unit().compression_point; }),
                   "str: the name of the point where the policy acts")
      .def_prop_ro("seed", of_prompt([](const PromptView& v) { return v.unit().seed; }),
                   "int: for what is random; of the replay's seed, the sample and the layer")
      .def_prop_ro("trace", of_prompt([](const PromptView& v) { return v.unit().trace; }),
                   "str: the fingerprint of the recording")
      .def_prop_ro("n_tokens", of_prompt([](const PromptView& v) { return v.n_candidates(); }),
                   "int: tokens up for eviction")
      .def_prop_ro("first_position", of_prompt([](const PromptView& v) { return v.first_position(); }),
                   "int: of token 0; above 0 in sliding layers alone")
      .def_prop_ro("n_q_heads", of_prompt([](const PromptView& v) { return v.model().n_q_heads; }), "int")
      .def_prop_ro("n_kv_heads", of_prompt([](const PromptView& v) { return v.model().n_kv_heads; }), "int")
      .def_prop_ro("head_dim", of_prompt([](const PromptView& v) { return v.model().head_dim; }), "int: of keys")
      .def_prop_ro("value_dim", of_prompt([](const PromptView& v) { return v.model().value_dim; }), "int: of values")
      .def_prop_ro("scale", of_prompt([](const PromptView& v) { return attention_rule(v.model(), v.layer()).scale; }),
                   "float: what logits are multiplied with")
      .def_prop_ro("keys", &View::keys, share, "[n_kv_heads, n_tokens, head_dim], after RoPE")
      .def_prop_ro("values", &View::values, share, "[n_kv_heads, n_tokens, value_dim]")
      .def_prop_ro("unrotated_keys", &View::unrotated_keys, share,
                   "[n_kv_heads, n_tokens, head_dim], keys before RoPE; computed once for all policies")
      .def_prop_ro("output_projection", &View::output_projection, share,
                   "[n_q_heads, value_dim, hidden_size]: W_O; needs \"output_projection\"")
      .def_prop_ro("block_cosine", &View::block_cosine, share,
                   "[n_tokens] or None: cosine of the residual stream before and after the attention block")
      .def("queries", &View::queries, share, "window"_a = nb::none(),
           "[n_q_heads, window, head_dim]: the last `window` prompt queries after RoPE, or all of the tokens' own; "
           "needs "
           "\"queries:WINDOW\" or \"queries\"")
      .def("attention_sums", &View::attention_sums, share, "window"_a = nb::none(),
           "[n_q_heads, n_tokens]: causal softmax attention of the last `window` prompt queries (all), summed over "
           "them. "
           "Computed once for all policies; needs the queries")
      .def("attention_rows", &View::attention_rows, share, "q_head"_a, "window"_a,
           "[window, n_tokens]: causal softmax attention of the last `window` prompt queries, of one query head")
      .def("n_seen_by", &View::n_seen_by, share, "window"_a = nb::none(),
           "[n_tokens] int64: how many of these queries see a token; attention_sums / n_seen_by is a mean")
      .def("query_moments", &View::query_moments, share, "sinks"_a = 4, "future"_a = 512,
           "(mean [n_q_heads, head_dim], covariance [n_q_heads, head_dim, head_dim]), float64: of the prompt's queries "
           "from token `sinks` on, their RoPE replaced by the mean one of the next `future` positions; needs "
           "\"queries\"")
      .def("value_norms", &View::value_norms, share, "order"_a = 2, "projected"_a = false,
           "[n_kv_heads, n_tokens]: L1 or L2 norms of values; projected: [n_q_heads, n_tokens], after W_O, which is "
           "needed "
           "then")
      .def("key_leverage", &View::key_leverage, share,
           "[n_kv_heads, n_tokens]: leverage of the keys before RoPE, less their mean, with a ridge of 0.01")
      .def_prop_ro("evaluation_queries", &View::evaluation_queries, share,
                   "[n_q_heads, any, head_dim]: the queries from the compression point on; for looks_ahead=True alone")
      .def("evaluation_attention", &View::evaluation_attention, share,
           "[n_q_heads, n_tokens]: full-cache attention of those, summed over them; for looks_ahead=True alone")
      .def("__repr__", &text_of);
}

}  // namespace kvreplay::python
