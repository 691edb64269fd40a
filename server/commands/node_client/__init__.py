"""Commands for who runs a node: its requests over HTTP, its routes; open requests.py first."""
