#!/bin/sh
# A second environment, for what cannot live in Segnode's own (Python 3.11, Linux x86_64, uv):
#   deploy/training/make-environment.sh vllm|verl|llamafactory DIR
# Segnode goes in after the others, without its own dependencies: what it needs for training is among
# theirs or in the file. LLaMA-Factory reads files of ours and needs no Segnode.
set -eu
here=$(dirname "$0")
kind=$1 dir=$2
uv venv --python 3.11 "$dir"
uv pip install --python "$dir/bin/python" --requirement "$here/requirements-$kind.txt"
if [ "$kind" != llamafactory ]; then
  uv pip install --python "$dir/bin/python" --no-deps "${SEGNODE:-$here/../..}"
fi
