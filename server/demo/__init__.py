"""The demo: a sample CT, a small archive that plays the PACS, and the main job between them."""
