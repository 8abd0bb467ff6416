#!/usr/bin/env bash
# Runs a command that must fail, and in one way only.
#   expect_failure.sh STATUS REGEX... -- COMMAND...
# Each regular expression must match a line of the output. REGEX may be @planted: then the output must name a line of a
# .cu file that has the word "planted" in it.
set -u
status=$1
shift
regexes=()
while [ "$1" != -- ]; do
  regexes+=("$1")
  shift
done
shift
output=$("$@" 2>&1)
found=$?
printf '%s\n' "$output"

fail() {
  echo "expect_failure: $*"
  exit 1
}

names_planted_line() {
  local place
  while read -r place; do
    sed -n "${place##*:}p" "${place%:*}" 2>/dev/null | grep -q planted && return 0
  done < <(grep -oE '/[^ :]+\.cu:[0-9]+' <<<"$output" | sort -u)
  return 1
}

[ "$found" -eq "$status" ] || fail "status $found instead of $status"
for regex in "${regexes[@]}"; do
  if [ "$regex" = @planted ]; then
    names_planted_line || fail "no planted line is named"
  else
    grep -qE -e "$regex" <<<"$output" || fail "no line matches $regex"
  fi
done
