// The tokens of a sample: their ids, and their texts where these are recorded.

#include <limits>

#include "traces/hdf5/hdf5_values.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {

using namespace hdf5;

const SampleObject kTokenIds{
    .name = "token_ids",
    .recorded = nullptr,
    .read =
        [](const SampleSource& source, SampleInfo& sample) {
          for (const std::int64_t id : read_integers(source.open(source.group, "token_ids", sample.n_tokens))) {
            if (id < std::numeric_limits<std::int32_t>::min() || id > std::numeric_limits<std::int32_t>::max())
              violate("{}/token_ids: expected 32-bit integers, found {}", source.group.path, id);
            sample.token_ids.push_back(static_cast<std::int32_t>(id));
          }
        },
    .write =
        [](const SampleTarget& target) {
          const std::vector<std::int32_t>& ids = target.sample().token_ids;
          write_numbers(target.group, "token_ids", H5T_STD_I32LE, {ids.begin(), ids.end()});
        },
    .check =
        [](const std::string& path, const SampleInfo& sample) {
          if (sample.token_ids.size() != sample.n_tokens)
            violate("{}/token_ids: expected n_tokens = {} elements, found {}", path, sample.n_tokens,
                    sample.token_ids.size());
        },
};

const SampleObject kTokenTexts{
    .name = "token_texts",
    .recorded = [](const SampleInfo& sample) { return !sample.token_texts.empty(); },
    .read =
        [](const SampleSource& source, SampleInfo& sample) {
          sample.token_texts = read_strings(source.open(source.group, "token_texts", sample.n_tokens));
        },
    .write =
        [](const SampleTarget& target) { write_strings(target.group, "token_texts", target.sample().token_texts); },
    .check =
        [](const std::string& path, const SampleInfo& sample) {
          if (!sample.token_texts.empty() && sample.token_texts.size() != sample.n_tokens)
            violate("{}/token_texts: expected n_tokens = {} elements, found {}", path, sample.n_tokens,
                    sample.token_texts.size());
        },
};

}  // namespace kvreplay::trace_schema
