"""The way of bytes: reads and writes of selections, over whatever shards hold the tiles."""
