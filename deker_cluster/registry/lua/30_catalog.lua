-- Collections and arrays.
--
-- collections: hash name -> collection id
-- c:<cid>: hash name, record, seq (number of the array created last), indexes (see 35_find.lua),
--   keep, keep_ms, feed (see set_retention), changes (number of the last change, see 47_feed.lua)
-- c:<cid>:arrays: zset array id -> seq;  c:<cid>:pk: hash primary key -> array id
-- a:<aid>: hash cid, generation, time (of the last commit, in ms), meta, pk (only with a primary key)

-- How many values args holds for the indexes of a collection, whose count stands at first.
-- Returns nil when the collection has no indexes, or when they end here: a client that is too old
-- for them has sent nothing. Returns false and the right number when there are too many or too few.
local function index_size(collection, args, first)
  local indexes = redis.call('HGET', collection, 'indexes')
  if not indexes or not args[first] then
    return
  end
  if indexes ~= '' and indexes ~= args[first] then
    return false, indexes
  end
  return tonumber(args[first])
end

local function drop_indexes(collection)
  for i = 1, tonumber(redis.call('HGET', collection, 'indexes') or '') or 0 do
    redis.call('UNLINK', collection .. ':x:' .. (i - 1))
  end
  redis.call('UNLINK', collection .. ':x')
end

-- Puts the values args[first + 1...] of array number seq into the indexes, in the place of others
-- that it may have there, and returns them. Without a size the indexes end: they would lack this array.
local function set_index(collection, seq, size, args, first)
  if not size then
    drop_indexes(collection)
    redis.call('HDEL', collection, 'indexes')
    return {}
  end
  local number, key, values = struct.pack('>I8', seq), collection .. ':x', {}
  local row = redis.call('HGET', key, number)
  local old = row and cmsgpack.unpack(row) or {}
  for i = 1, size do
    local value, index = args[first + i], key .. ':' .. (i - 1)
    values[i] = value
    if old[i] ~= value then
      if old[i] then
        redis.call('ZREM', index, old[i] .. number)
      end
      redis.call('ZADD', index, 0, value .. number)
    end
  end
  redis.call('HSET', collection, 'indexes', size)
  if size > 0 then
    redis.call('HSET', key, number, cmsgpack.pack(values))
  end
  return values
end

local function drop_index(collection, seq)
  local number, key = struct.pack('>I8', seq), collection .. ':x'
  local row = redis.call('HGET', key, number)
  if row then
    for i, value in ipairs(cmsgpack.unpack(row)) do
      redis.call('ZREM', key .. ':' .. (i - 1), value .. number)
    end
    redis.call('HDEL', key, number)
  end
end

local function drop_array(p, array)
  local key = p .. 'a:' .. array
  local found = redis.call('HMGET', key, 'cid', 'pk')
  if found[1] then
    local collection = p .. 'c:' .. found[1]
    local seq = redis.call('ZSCORE', collection .. ':arrays', array)
    if seq then
      drop_index(collection, tonumber(seq))
    end
    redis.call('ZREM', collection .. ':arrays', array)
    if found[2] then
      redis.call('HDEL', collection .. ':pk', found[2])
    end
  end
  redis.call('UNLINK', key, key .. ':m', key .. ':l', key .. ':h', key .. ':w', key .. ':i')
  redis.call('ZREM', p .. 'histories', array)
end

-- Deletes an array; its files may go when due has come and no pin needs them any more.
local function delete_array(p, array, due)
  drop_array(p, array)
  journal(p, {'unarray', array, array_garbage(p, array, due)})
end

local function journal_array(p, collection, id, seq, size, values)
  local found = redis.call('HMGET', p .. 'a:' .. id, 'pk', 'meta')
  if not size then
    journal(p, {'unindex', collection})
  end
  journal(p, {'array', collection, id, seq, found[1] or '', found[1] and 1 or 0, found[2], values})
end

-- create_collection: ARGV operation, name, id, record, then nothing or as for set_retention:
-- generations, age in ms or 0, changes.
-- Returns {"ok"} | {"exists"} | {"nocluster"}
changing('create_collection', function(p, args)
  if not has_cluster(p) then
    return {'nocluster'}, false
  end
  local key = p .. 'c:' .. args[3]
  -- Arrays of a deleted collection with this id may not be purged yet: they would come back.
  if redis.call('HEXISTS', p .. 'collections', args[2]) == 1
    or redis.call('EXISTS', key, key .. ':arrays') > 0 then
    return {'exists'}, false
  end
  redis.call('HSET', p .. 'collections', args[2], args[3])
  local fields = {'name', args[2], 'record', args[4], 'seq', '0', 'indexes', ''}
  if args[5] then
    append_retention(fields, args, 5)
  end
  redis.call('HSET', key, unpack(fields))
  redis.call('ZREM', p .. 'garbage', 'C:' .. args[3]) -- an older one's, of which nothing is left
  journal(p, {'collection', args[3], fields})
  return {'ok'}
end)

-- collections: ARGV name, or nothing for all.
-- Returns {"ok", id, name, record, id, name, record, ...}
reading('collections', function(p, args)
  local ids
  if args[1] then
    ids = {redis.call('HGET', p .. 'collections', args[1]) or nil}
  else
    ids = redis.call('HVALS', p .. 'collections')
  end
  local reply = {'ok'}
  for _, id in ipairs(ids) do
    local found = redis.call('HMGET', p .. 'c:' .. id, 'name', 'record')
    reply[#reply + 1] = id
    reply[#reply + 1] = found[1]
    reply[#reply + 1] = found[2]
  end
  return reply
end)

-- update_collection: ARGV operation, id, record, new record.
-- Returns {"ok"} | {"gone"} | {"other", record}: it is another one, nothing was changed
changing('update_collection', function(p, args)
  local key = p .. 'c:' .. args[2]
  local record = redis.call('HGET', key, 'record')
  if not record then
    return {'gone'}, false
  elseif record ~= args[3] then
    return {'other', record}, false
  end
  redis.call('HSET', key, 'record', args[4])
  journal(p, {'collection', args[2], {'record', args[4]}})
  next_epoch(p) -- where its tiles should be may have changed
  return {'ok'}
end)

-- delete_collection: ARGV operation, id. Returns {"ok", 1 | 0}: whether it was there.
-- From now on nobody can use its arrays; purge_collection removes them piece by piece.
changing('delete_collection', function(p, args)
  local key = p .. 'c:' .. args[2]
  local name = redis.call('HGET', key, 'name')
  if not name then
    return {'ok', 0}, false
  end
  drop_indexes(key)
  redis.call('HDEL', p .. 'collections', name)
  redis.call('UNLINK', key, key .. ':pk', key .. ':feed')
  redis.call('ZADD', p .. 'garbage', due_ms(p, now_ms()), 'C:' .. args[2])
  journal(p, {'uncollection', args[2]})
  return {'ok', 1}
end, {'allow-oom'})

-- clear_collection: ARGV operation, id, last seq or "", limit.
-- Deletes up to limit arrays that were created no later than seq (the newest one, when "").
-- Returns {"ok", seq, number of such arrays left} | {"gone"}
changing('clear_collection', function(p, args)
  local key = p .. 'c:' .. args[2]
  local last = args[3] ~= '' and args[3] or redis.call('HGET', key, 'seq')
  if not last or redis.call('EXISTS', key) == 0 then
    return {'gone'}, false
  end
  local due = due_ms(p, now_ms())
  local ids = redis.call('ZRANGEBYSCORE', key .. ':arrays', '-inf', last, 'LIMIT', 0, args[4])
  for _, id in ipairs(ids) do
    delete_array(p, id, due)
  end
  return {'ok', tonumber(last), redis.call('ZCOUNT', key .. ':arrays', '-inf', last)}
end, {'allow-oom'})

-- purge_collection: ARGV operation, id, limit. Removes up to limit arrays of a deleted collection.
-- Their files may be deleted at once: the collection's own item has waited for its time.
-- Returns {"ok", number of arrays left} | {"alive"}
changing('purge_collection', function(p, args)
  local key = p .. 'c:' .. args[2]
  if redis.call('EXISTS', key) == 1 then
    return {'alive'}, false
  end
  local now = now_ms()
  for _, id in ipairs(redis.call('ZRANGE', key .. ':arrays', 0, tonumber(args[3]) - 1)) do
    delete_array(p, id, now)
  end
  return {'ok', redis.call('ZCARD', key .. ':arrays')}
end, {'allow-oom'})

-- Appends id, collection id, meta, generation of an array that exists.
local function append_record(p, reply, id)
  local found = redis.call('HMGET', p .. 'a:' .. id, 'cid', 'meta', 'generation')
  if found[1] then
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = id, found[1], found[2]
    reply[n + 4] = tonumber(found[3])
  end
end

-- array: ARGV array id. Returns {"ok", id, collection id, meta, generation} | {"gone"}
reading('array', function(p, args)
  if not alive(p, args[1]) then
    return {'gone'}
  end
  local reply = {'ok'}
  append_record(p, reply, args[1])
  return reply
end)

-- find_array: ARGV collection id, primary key.
-- Returns {"ok", id, collection id, meta, generation} | {"ok"} nothing found | {"gone"}
reading('find_array', function(p, args)
  local key = p .. 'c:' .. args[1]
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local reply = {'ok'}
  local id = redis.call('HGET', key .. ':pk', args[2])
  if id then
    append_record(p, reply, id)
  end
  return reply
end)

-- arrays: ARGV collection id, seq after which to go on, limit.
-- Returns {"ok", last seq or -1 at the end, then (id, collection id, meta, generation)...} | {"gone"}
reading('arrays', function(p, args)
  local key, limit = p .. 'c:' .. args[1], tonumber(args[3])
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local page = redis.call('ZRANGEBYSCORE', key .. ':arrays', '(' .. args[2], '+inf',
    'WITHSCORES', 'LIMIT', 0, limit)
  local reply = {'ok', #page == 2 * limit and tonumber(page[#page]) or -1}
  for i = 1, #page, 2 do
    append_record(p, reply, page[i])
  end
  return reply
end)

-- count_arrays: ARGV collection id. Returns {"ok", number} | {"gone"}
reading('count_arrays', function(p, args)
  local key = p .. 'c:' .. args[1]
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  return {'ok', redis.call('ZCARD', key .. ':arrays')}
end)

-- update_meta: ARGV operation, array id, expected meta, new meta, number of index values, that many
-- of them.
-- Returns {"ok", 1 | 0}: 0 when the stored text is another one | {"gone"}
--   | {"indexes", the right number of index values}
changing('update_meta', function(p, args)
  if not alive(p, args[2]) then
    return {'gone'}, false
  end
  local key = p .. 'a:' .. args[2]
  if redis.call('HGET', key, 'meta') ~= args[3] then
    return {'ok', 0}, false
  end
  local id = redis.call('HGET', key, 'cid')
  local collection = p .. 'c:' .. id
  local size, right_size = index_size(collection, args, 5)
  if size == false then
    return {'indexes', right_size}, false
  end
  redis.call('HSET', key, 'meta', args[4])
  local seq = tonumber(redis.call('ZSCORE', collection .. ':arrays', args[2]))
  journal_array(p, id, args[2], seq, size, set_index(collection, seq, size, args, 5))
  return {'ok', 1}
end)

-- delete_array: ARGV operation, array id, id of the collection that it must be in, or "".
-- Returns {"ok", 1 | 0}: whether it was there.
changing('delete_array', function(p, args)
  if not alive(p, args[2], args[3]) then
    return {'ok', 0}, false
  end
  delete_array(p, args[2], due_ms(p, now_ms()))
  return {'ok', 1}
end, {'allow-oom'})
