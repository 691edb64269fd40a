"""What trains an agent, in numpy alone: the simulated reader, the trajectories that it makes."""
