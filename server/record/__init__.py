"""The record: studies, requests, turns, deliveries and an append-only audit trail in PostgreSQL."""
