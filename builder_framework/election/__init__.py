"""Who leads, when several processes share one database. What it may write is the store's matter."""
