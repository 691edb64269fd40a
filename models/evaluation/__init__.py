"""How good a policy and a segmenter are on cases with a truth; models/evaluation/runner.py is the
file to open first.
"""
