"""The shard: tile files on one node's disk, and the Ray actor that owns them."""
