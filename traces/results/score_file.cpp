#include "traces/results/score_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "traces/input/naming_file.h"
#include "traces/input/read_allowance.h"
#include "traces/input/stored_values.h"
#include "traces/input/tensor_reader.h"

namespace kvreplay {

namespace {

bool is_float64(const hdf5::StoredArray& array) {
  return hdf5::kind_of(array) == hdf5::ValueKind::real && array.element_size() == sizeof(double);
}

// numpy's default. Scores are ranked as float32.
void read_float64(const hdf5::StoredArray& array, const std::string& name, std::size_t n_tokens, std::span<float> out) {
  const std::vector<double> values = hdf5::read_reals(array);
  for (std::size_t i = 0; i < values.size(); ++i) {
    out[i] = static_cast<float>(values[i]);
    if (!std::isfinite(out[i]))
      throw hdf5::Violation(fmt::format("/{}: expected numbers that float32 holds, found {} at head {}, token {}", name,
                                        values[i], i / n_tokens, i % n_tokens));
  }
}

}  // namespace

ScoreFile::ScoreFile(InputFile file) : file_(std::move(file)) {}

Scores ScoreFile::read(const PromptView& view) const {
  return naming_file<InputError>(file_.path(), [&] { return read_stored(view); });
}

bool ScoreFile::has_recording(const std::string& fingerprint) const {
  return !fingerprint.empty() && hdf5::has_link(hdf5::root_of(file_.stored()), "traces/" + fingerprint);
}

Scores ScoreFile::read_stored(const PromptView& view) const {
  const hdf5::StoredGroup root = hdf5::root_of(file_.stored());
  const std::string recording = has_recording(view.unit().trace) ? fmt::format("traces/{}/", view.unit().trace) : "";
  const std::string sample = fmt::format("{}samples/{:04}", recording, view.unit().sample);
  const std::string layer = fmt::format("layers/{:02}/scores", view.layer().index);
  const std::string at_point = sample + "/" + view.unit().compression_point + "/" + layer;
  const bool has_point = hdf5::has_link(root, sample + "/" + view.unit().compression_point);
  const std::string name = has_point ? at_point : sample + "/" + layer;
  const hdf5::StoredArray array = hdf5::open_array(root, name, {std::nullopt, std::nullopt});
  hdf5::ReadAllowance(file_.stored()).spend(array);
  const std::size_t n_heads = array.dims()[0], n_tokens = array.dims()[1];
  const ModelInfo& model = view.model();
  if ((n_heads != model.n_kv_heads && n_heads != model.n_q_heads) || n_tokens < view.compression_point())
    throw hdf5::Violation(fmt::format("/{} is {}; expected [{} or {}, at least {}]", name,
                                      hdf5::shape_text(array.dims()), model.n_kv_heads, model.n_q_heads,
                                      view.compression_point()));
  Tensor stored(1, n_heads, n_tokens);
  const auto place = [](std::span<const std::uint64_t> at) { return fmt::format("head {}, token {}", at[0], at[1]); };
  if (is_float64(array))
    read_float64(array, name, n_tokens, stored.values());
  else
    hdf5::read_tensor(array, {0, n_heads}, stored.values(), place);
  Scores scores =
      Scores::for_heads(n_heads == model.n_kv_heads ? HeadAxis::kv : HeadAxis::query, n_heads, view.n_candidates());
  for (std::size_t h = 0; h < n_heads; ++h)
    std::ranges::copy(stored.matrix(0).row(h).subspan(view.first_position(), view.n_candidates()),
                      scores.head(h).begin());
  return scores;
}

std::string ScoreFile::fingerprint() const { return file_.bytes().fingerprint(); }

}  // namespace kvreplay
