#pragma once
// Names that a user mistyped: the nearest known one, and the one message that every table of names gives.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kvreplay {

/// Edits (insert, delete, replace, swap of neighbours) that turn one name into the other; case does not count.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// A name as it is compared across spellings: lower case, without hyphens, underscores and blanks, and without the
/// "press" that kvpress's classes end in. "SnapKVPress", "snap_kv" and "snap-kv" are "snapkv".
std::string folded_name(std::string_view name);

/// The known name that `name` most likely means: another spelling of it (folded_name()), one that it begins, or one at
/// most a third of its letters away (names of three letters or more). "" when none is near; among equals the first.
std::string nearest_name(std::string_view name, std::span<const std::string> known);

/// "unknown KIND 'NAME'; did you mean 'X'? known: A, B, C", without the question when nothing is near; "...; there are
/// none" without known names.
/// \param lister  a command that lists what is known, where that is too much for a line: "'LISTER' lists them"
std::string unknown_name(std::string_view kind, std::string_view name, std::span<const std::string> known,
                         std::string_view lister = "");

}  // namespace kvreplay
