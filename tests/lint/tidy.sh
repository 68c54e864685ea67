#!/usr/bin/env bash
# tidy.sh BUILD_DIR [FILE...]: clang-tidy over the production code (or the files given).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$1
shift
if [ $# -gt 0 ]; then files=("$@"); else mapfile -t files < <(git ls-files 'fhir/*.c' 'rules/*.c' 'connectors/*.c' 'daemon/*.c'); fi
printf '%s\0' "${files[@]}" | xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet -p "$build"
