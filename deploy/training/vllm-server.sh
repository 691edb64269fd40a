#!/bin/sh
# GRPO on 8 GPUs, six that train and two that sample replies in a server of their own:
#   deploy/training/vllm-server.sh DATA BASE OUT [more options of segnode train grpo]
# In the environment of `make-environment.sh vllm`. 12 prompts of 8 episodes are 16 rows for each of
# six; for seven and one say data_parallel_size 1 in vllm-serve.yaml, and here 7 and --prompts 7.
set -eu
here=$(dirname "$0")
data=$1 base=$2 out=$3
shift 3
CUDA_VISIBLE_DEVICES=6,7 trl vllm-serve --config "$here/vllm-serve.yaml" --model "$base" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
# the trainer waits for the server (vllm_server_timeout), so nothing has to be waited for here
CUDA_VISIBLE_DEVICES=0,1,2,3,4,5 accelerate launch --config_file "$here/fsdp2.yaml" \
  --num_processes 6 \
  -m server.cli train grpo "$data" --base "$base" --out "$out" \
  --preset medsam-agent --prompts 12 --group 8 --per-device 1 \
  --sampler vllm-server --sampler-url http://127.0.0.1:8000 "$@"
