#include "traces/results/score_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "traces/hdf5/file_bytes.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/tensor_reader.h"

namespace kvreplay {

namespace {

bool is_float64(const hdf5::Dataset& dataset) {
  const hdf5::Type type = hdf5::type_of(dataset);
  const hdf5::Lock lock;
  return H5Tequal(type, H5T_IEEE_F64LE) > 0;
}

// numpy's default. Scores are ranked as float32.
void read_float64(const hdf5::Dataset& dataset, const std::string& name, std::size_t n_tokens, std::span<float> out) {
  const std::vector<double> values = hdf5::read_reals(dataset);
  for (std::size_t i = 0; i < values.size(); ++i) {
    out[i] = static_cast<float>(values[i]);
    if (!std::isfinite(out[i]))
      throw hdf5::Violation(fmt::format("/{}: expected numbers that float32 holds, found {} at head {}, token {}", name,
                                        values[i], i / n_tokens, i % n_tokens));
  }
}

}  // namespace

struct ScoreFile::Impl {
  std::filesystem::path path;
  FileBytes bytes;
  hdf5::File file;
};

ScoreFile::ScoreFile(const std::filesystem::path& path) try
    : impl_(new Impl{.path = path, .bytes = FileBytes(path), .file = hdf5::open_file(path)}) {
} catch (const hdf5::Failure& failure) {
  throw InputError(fmt::format("{}: {}", path.string(), failure.what()));
} catch (const hdf5::Violation& violation) {
  throw InputError(fmt::format("{}: {}", path.string(), violation.what()));
}

ScoreFile::~ScoreFile() = default;

Scores ScoreFile::read(const PromptView& view) const try {
  const std::string sample = fmt::format("samples/{:04}", view.unit().sample);
  const std::string layer = fmt::format("layers/{:02}/scores", view.layer().index);
  const std::string at_point = sample + "/" + view.unit().compression_point + "/" + layer;
  // H5Lexists wants every group on the way to exist, so look step by step.
  const bool has_point = hdf5::has_link(impl_->file, "samples") && hdf5::has_link(impl_->file, sample) &&
                         hdf5::has_link(impl_->file, sample + "/" + view.unit().compression_point);
  const std::string name = has_point ? at_point : sample + "/" + layer;
  const hdf5::StoredArray array =
      hdf5::open_array(impl_->file, name, {std::nullopt, std::nullopt}, impl_->bytes.size());

  const std::size_t n_heads = array.dims[0], n_tokens = array.dims[1];
  const ModelInfo& model = view.model();
  if ((n_heads != model.n_kv_heads && n_heads != model.n_q_heads) || n_tokens < view.compression_point())
    throw hdf5::Violation(fmt::format("/{} is {}; expected [{} or {}, at least {}]", name, hdf5::shape_text(array.dims),
                                      model.n_kv_heads, model.n_q_heads, view.compression_point()));
  Tensor stored(1, n_heads, n_tokens);
  const auto place = [](std::span<const hsize_t> at) { return fmt::format("head {}, token {}", at[0], at[1]); };
  if (is_float64(array.dataset))
    read_float64(array.dataset, name, n_tokens, stored.values());
  else
    hdf5::read_tensor(array, impl_->bytes, {0, n_heads}, stored.values(), place);
  Scores scores =
      Scores::for_heads(n_heads == model.n_kv_heads ? HeadAxis::kv : HeadAxis::query, n_heads, view.n_candidates());
  for (std::size_t h = 0; h < n_heads; ++h)
    std::ranges::copy(stored.matrix(0).row(h).subspan(view.first_position(), view.n_candidates()),
                      scores.head(h).begin());
  return scores;
} catch (const hdf5::Failure& failure) {
  throw InputError(fmt::format("{}: {}", impl_->path.string(), failure.what()));
} catch (const hdf5::Violation& violation) {
  throw InputError(fmt::format("{}: {}", impl_->path.string(), violation.what()));
}

std::string ScoreFile::fingerprint() const { return impl_->bytes.fingerprint(); }

}  // namespace kvreplay
