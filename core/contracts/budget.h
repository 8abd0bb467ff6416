#pragma once
// Budgets: how much of the cache is kept, and the one place where they round to tokens.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

enum class BudgetKind {
  fraction,           ///< share kept, (0, 1]: round half up, at least one token
  tokens,             ///< tokens kept per KV head
  compression_ratio,  ///< share removed, [0, 1], in kvpress's arithmetic
};

/// How kvpress comes from compression ratios to tokens. Its versions differ where next to nothing is kept.
enum class RatioRounding {
  kvpress,        ///< since 0.5.5: 0 at ratio 1, else max(1, int(n * (1 - ratio)))
  kvpress_0_5_4,  ///< int(n * (1 - ratio)): short prompts may lose all
};

std::string_view name_of(BudgetKind kind);
std::string_view name_of(RatioRounding rounding);  ///< "kvpress", "kvpress-0.5.4"

/// One budget as a policy meets it in one layer.
struct Budget {
  std::size_t tokens = 0;  ///< kept per KV head
  /// Shares kept and removed, as asked for: some methods round other things than tokens by them.
  double kept = 1;
  double removed = 0;
  BudgetKind kind = BudgetKind::tokens;
};

struct BudgetGrid {
  BudgetKind kind = BudgetKind::fraction;
  std::vector<double> values;  ///< fractions, tokens or compression ratios as given
  RatioRounding rounding = RatioRounding::kvpress;

  /// Tokens kept of n. Throws UsageError when more tokens are asked for than there are.
  std::size_t tokens(std::size_t budget, std::size_t n_candidates) const;
  /// The same where a budget in tokens may be more than there is: then everything is kept.
  Budget at(std::size_t budget, std::size_t n_candidates) const;
  /// The budget as a label: what is kept, fraction or tokens.
  double label(std::size_t budget) const;
};

/// 16 round fractions from 0.02 to 1, about equally spaced in logarithm.
inline constexpr std::string_view kDefaultBudgets =
    "0.02,0.03,0.04,0.05,0.07,0.1,0.125,0.16,0.2,0.25,0.32,0.4,0.5,0.63,0.8,1";

/// Reads `--budget`: a list `0.1,0.25,1` of fractions (with a point, or 1) or `64,128,t1` of tokens (whole numbers
/// above 1, or with a `t` before), or a range `FROM:TO:COUNT`, log-spaced, of either. Throws UsageError with the text
/// in it.
BudgetGrid parse_budgets(std::string_view text);

/// Reads `--compression-ratio`: a list of shares removed, as kvpress counts them.
BudgetGrid parse_compression_ratios(std::string_view text, RatioRounding rounding = RatioRounding::kvpress);

}  // namespace kvreplay
