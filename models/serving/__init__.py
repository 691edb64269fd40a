"""One model for many callers: prompts batched, memory admitted before it is taken, smaller batches
and then the CPU.
"""
