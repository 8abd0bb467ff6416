#include "traces/synthetic/synthetic_text.h"

namespace kvreplay {
namespace {

constexpr std::size_t kTopicLength = 256;  // tokens over which the topic turns into the next
constexpr float kOnTopic = 0.75f;          // share of the tokens that belong to the topic
constexpr std::size_t kVocabulary = 32000;

}  // namespace

SyntheticText::SyntheticText(const SyntheticTraceOptions& options, std::size_t sample)
    : rng_(CounterRng(options.seed).stream(sample_stream, sample)),
      n_context_(options.n_prompt - options.n_question),
      n_sinks_(options.n_sinks),
      n_clusters_(options.n_clusters),
      n_needles_(options.n_needles),
      needle_length_(options.needle_length),
      needle_slot_(n_needles_ == 0 ? 0 : (n_context_ - n_sinks_) / n_needles_) {}

std::int32_t SyntheticText::token_id(std::size_t token) const {
  return static_cast<std::int32_t>(rng(SampleStream::token_ids).below(token, kVocabulary));
}

std::size_t SyntheticText::cluster(std::size_t token) const {
  const CounterRng draw = rng(SampleStream::token_clusters).stream(token);
  if (draw.uniform(0) >= kOnTopic) return draw.below(1, n_clusters_);
  const TopicMix mix = topic(token);
  return draw.uniform(2) < mix.weight ? mix.to : mix.from;
}

TopicMix SyntheticText::topic(std::size_t token) const {
  const std::size_t segment = token / kTopicLength;
  const CounterRng topics = rng(SampleStream::topics);
  return {.from = topics.below(segment, n_clusters_),
          .to = topics.below(segment + 1, n_clusters_),
          .weight = static_cast<float>(token % kTopicLength) / kTopicLength};
}

Range SyntheticText::needle(std::size_t index) const {
  // In the middle half of its slot, so that no needle comes close to the question.
  const std::size_t spare = needle_slot_ - needle_length_;
  const std::size_t offset = spare / 4 + rng(SampleStream::needle_places).below(index, spare / 2 + 1);
  const std::size_t begin = n_sinks_ + index * needle_slot_ + offset;
  return {begin, begin + needle_length_};
}

std::optional<std::size_t> SyntheticText::needle_at(std::size_t token) const {
  if (n_needles_ == 0 || token < n_sinks_ || token >= n_context_) return std::nullopt;
  const std::size_t index = (token - n_sinks_) / needle_slot_;
  if (index >= n_needles_) return std::nullopt;  // the remainder behind the last slot
  const Range tokens = needle(index);
  if (token < tokens.begin || token >= tokens.end) return std::nullopt;
  return index;
}

std::optional<std::size_t> SyntheticText::needle_sought(std::size_t position) const {
  if (n_needles_ == 0 || position < n_context_) return std::nullopt;
  return (position - n_context_) % n_needles_;
}

}  // namespace kvreplay
