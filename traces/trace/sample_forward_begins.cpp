// Where the model's forward calls begin: a prompt, chunks of it, decoded tokens one by one or several at a time.

#include "traces/hdf5/hdf5_values.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {

using namespace hdf5;

namespace {

void check_forward_begins(const std::string& path, const SampleInfo& sample) {
  for (std::size_t i = 0; i < sample.forward_begins.size(); ++i) {
    const std::size_t begin = sample.forward_begins[i];
    if (i == 0 && begin != 0) violate("{}/forward_begins[0]: expected 0, found {}", path, begin);
    if (i > 0 && begin <= sample.forward_begins[i - 1])
      violate("{}/forward_begins[{}]: expected ascending positions, found {} after {}", path, i, begin,
              sample.forward_begins[i - 1]);
    if (begin >= sample.n_tokens)
      violate("{}/forward_begins[{}]: expected a position below n_tokens = {}, found {}", path, i, sample.n_tokens,
              begin);
  }
}

}  // namespace

const SampleObject kForwardBegins{
    .name = "forward_begins",
    .recorded = [](const SampleInfo& sample) { return !sample.forward_begins.empty(); },
    .read =
        [](const SampleSource& source, SampleInfo& sample) {
          for (const std::int64_t begin : read_integers(source.open(source.group, "forward_begins", std::nullopt)))
            sample.forward_begins.push_back(as_size(begin, source.group.path + "/forward_begins"));
        },
    .write =
        [](const SampleTarget& target) {
          const std::vector<std::size_t>& begins = target.sample().forward_begins;
          write_numbers(target.group, "forward_begins", H5T_STD_I64LE, {begins.begin(), begins.end()});
        },
    .check = check_forward_begins,
};

}  // namespace kvreplay::trace_schema
