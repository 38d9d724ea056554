"""What comes in from forges and chats, and makes builds (docs/incoming.md)."""
