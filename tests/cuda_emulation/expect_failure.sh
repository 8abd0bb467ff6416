#!/usr/bin/env bash
# Runs a command that must fail, and in one way only.
#   expect_failure.sh STATUS REGEX COMMAND...
set -u
status=$1 regex=$2
shift 2
output=$("$@" 2>&1)
found=$?
printf '%s\n' "$output"
if [ "$found" -ne "$status" ]; then
  echo "expect_failure: status $found instead of $status"
  exit 1
fi
if ! grep -qE "$regex" <<<"$output"; then
  echo "expect_failure: no line matches $regex"
  exit 1
fi
