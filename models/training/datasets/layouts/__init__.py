"""One module a layout: how a folder looks, and what it holds."""
