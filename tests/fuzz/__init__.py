"""The API asked for what nobody thought of: schemathesis against a real framework process."""
