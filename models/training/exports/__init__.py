"""Trajectories as files: ours, and those that other trainers read.

`trajectory_shard.py` writes a folder, `trajectory_folder.py` reads it; every other format is made
from that folder: `llama_factory.py`, `rl_parquet.py`, `conversational.py`, `data_card.py`.
"""
