"""What is asked for and when: `catalogue.py` knows the structures, `routing.py` the routes."""
