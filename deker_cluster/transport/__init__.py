"""How requests reach a shard: its messages, its handles, and retries."""
