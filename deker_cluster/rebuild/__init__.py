"""The registry from the shards' disks: the journal there, the state that it adds up to, and back.

Every change of the registry goes to a journal on some shards' disks (:mod:`.batches`), about every
second, and before a delete is acknowledged. :class:`.state.RegistryState` is what the journal adds
up to; :func:`.reconstruct.reconstruct` completes it with the writes of the last moment, which the
tile files themselves tell about (:mod:`.tail`).
"""
