#!/bin/sh
# GRPO on 8 GPUs, each with its share of the model and a vLLM of its own for the replies:
#   deploy/training/vllm-colocated.sh DATA BASE OUT [more options of segnode train grpo]
# In the environment of `make-environment.sh vllm`; the numbers are MedSAM-Agent's.
set -eu
here=$(dirname "$0")
data=$1 base=$2 out=$3
shift 3
exec accelerate launch --config_file "$here/fsdp2.yaml" --num_processes 8 \
  -m server.cli train grpo "$data" --base "$base" --out "$out" \
  --preset medsam-agent --prompts 8 --group 8 --per-device 1 \
  --sampler vllm-colocated --sampler-memory 0.3 --sampler-gpus 1 "$@"
