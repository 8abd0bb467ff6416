#!/usr/bin/env bash
# docs/report.png: the first screen of the page that tools/demo.sh leaves.
#   bash tools/demo.sh && bash docs/report_picture.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/install_dependencies.sh
install_packages chromium pngquant
made=$(mktemp --suffix .png)
trap 'rm -f "$made"' EXIT
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1290 \
  --virtual-time-budget=10000 --screenshot="$made" "file://$PWD/build/demo.html" 2>/dev/null
pngquant --force --skip-if-larger --output docs/report.png 128 "$made"
