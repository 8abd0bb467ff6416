#pragma once
// How far a figure would move had other samples been recorded: the percentile bootstrap over samples.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace kvreplay {

/// Fewer samples than these give rough intervals.
inline constexpr std::size_t kFewSamples = 8;

/// A figure and its 95 % interval. NaN: no figure, or too few samples for an interval.
struct Estimate {
  double value = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
  std::size_t n_samples = 0;  ///< that have a value

  bool has_interval() const { return low <= high; }
};

/// Draws of n samples out of n with replacement, the same ones for everybody: figures that share them are paired. They
/// depend on n alone, on any machine.
class Resamples {
 public:
  static constexpr std::size_t kDraws = 2000;

  explicit Resamples(std::size_t n_samples);

  std::size_t n_samples() const { return n_samples_; }
  /// [n_samples] indices of samples;
  /// \param draw  below kDraws
  std::span<const std::uint32_t> operator[](std::size_t draw) const {
    return std::span(indices_).subspan(draw * n_samples_, n_samples_);
  }

 private:
  std::size_t n_samples_;
  std::vector<std::uint32_t> indices_;  ///< [kDraws, n_samples]
};

/// The 2.5 and 97.5 % points of a statistic over all draws (linear between order statistics), written into
/// `estimates`; draws that give NaN are left out. Nothing for fewer than two samples.
/// \param statistics  (draw, [n_estimates] to fill)
void bootstrap(const Resamples& resamples,
               const std::function<void(std::span<const std::uint32_t>, std::span<double>)>& statistics,
               std::span<Estimate> estimates);

/// Mean over the samples that have a value, with its interval where two or more have.
/// \param values  [n_samples] NaN: none
Estimate mean_over_samples(std::span<const double> values, const Resamples& resamples);

}  // namespace kvreplay
