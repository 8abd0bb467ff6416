// kvreplay synth: a synthetic trace to try things on.

#include <fmt/format.h>
#include <fmt/ostream.h>

#include "core/base/error.h"
#include "core/base/printable.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/replay/output_file.h"
#include "traces/synthetic/synthetic_trace.h"

namespace kvreplay {
namespace {

DType dtype_named(const std::string& name) {
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
    if (name == name_of(dtype)) return dtype;
  }
  throw UsageError(fmt::format("'{}' is no dtype", name));
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream& err) {
  SyntheticTraceOptions trace;
  std::string output;
  std::string dtype(name_of(trace.dtype));
  bool force = false;
  Options options(
      "synth [OPTIONS] --output FILE",
      "Writes a synthetic trace: attention with sinks, recency, clusters of keys and needles that the question "
      "looks for. The same options give the same file, byte for byte.");
  options.group("Output");
  options.value("output,o", output, "FILE", "the trace to write; required");
  options.flag("force", force, "overwrite it");
  options.value("seed", trace.seed, "N", "seed of everything random");
  options.choice("dtype", dtype, {"float16", "bfloat16", "float32"}, "of queries, keys and values");
  options.group("Model");
  options.value("layers", trace.n_layers, "N", "layers");
  options.value("q-heads", trace.n_q_heads, "N", "query heads");
  options.value("kv-heads", trace.n_kv_heads, "N", "KV heads; divides the query heads");
  options.value("head-dim", trace.head_dim, "N", "size of queries and keys");
  options.value("value-dim", trace.value_dim, "N", "size of values");
  options.value("hidden-size", trace.hidden_size, "N", "width of the residual stream; 0: query heads x value size");
  options.value("sliding-window", trace.sliding_window, "TOKENS",
                "window of every second layer; 0: full attention everywhere");
  options.value("logit-softcap", trace.logit_softcap, "X", "soft cap of the logits; 0: none");
  options.flag("no-output-projection", trace.output_projection, "leave out W_O", false);
  options.group("Samples");
  options.value("samples", trace.n_samples, "N", "samples");
  options.value("prompt", trace.n_prompt, "TOKENS", "prompt, with its question");
  options.value("question", trace.n_question, "TOKENS", "question at the end of the prompt");
  options.value("decode", trace.n_decode, "TOKENS", "answer after the prompt");
  options.value(
      "sensitivity", trace.n_sketches, "R",
      "record R random sketches of sensitivities at every compression point, to try predicted_kl on; 0: none");
  options.flag("last-queries-only", trace.prompt_queries,
               "record the queries of the last 128 prompt tokens only, instead of the whole prompt", false);
  options.group("Structure of the attention");
  options.value("needles", trace.n_needles, "N", "marked spans that question and answer look for");
  options.value("needle-length", trace.needle_length, "TOKENS", "length of each");
  options.value("needle-strength", trace.needle_strength, "LOGIT",
                "bonus of needles for the queries that look for them");
  options.value("sinks", trace.n_sinks, "TOKENS", "first tokens, which attract every query");
  options.value("sink-strength", trace.sink_strength, "LOGIT", "their bonus");
  options.value("recency", trace.recency, "LOGIT", "bonus of the newest token, decaying with distance");
  options.value("clusters", trace.n_clusters, "N", "directions around which keys lie");
  options.example("kvreplay synth -o trace.h5");
  options.example("kvreplay synth -o long.h5 --prompt 32768 --layers 2 --needles 8 --seed 7");
  if (!options.parse(args, out)) return 0;
  if (output.empty()) throw UsageError("synth needs --output FILE");
  check_output(output, force);

  trace.dtype = dtype_named(dtype);
  write_synthetic_trace(output, trace, force);
  fmt::print(err, "wrote {}\n", printable(output));
  return 0;
}

}  // namespace

Command synth_command() { return {.name = "synth", .summary = "write a synthetic trace", .run = run}; }

}  // namespace kvreplay
