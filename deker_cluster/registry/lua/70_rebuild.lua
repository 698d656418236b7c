-- The registry as a whole: told to whoever writes it down, and made again from what was written.
--
-- What makes it again serves only while there is no record of the cluster: that is written last, so
-- that a registry that is half made counts as none, and is cleared by the next attempt.

-- The mark of the attempt that was begun last is in "rebuild": one before it must not go on.

local KEPT = {['tokens'] = true, ['journal:seq'] = true, ['rebuild'] = true} -- counters never go back

-- dump_base: no ARGV. Returns {"ok", {cluster hash}, {shards hash}, then (collection id, {its hash})...}
reading('dump_base', function(p)
  local reply = {'ok', redis.call('HGETALL', p .. 'cluster'), redis.call('HGETALL', p .. 'shards')}
  for _, id in ipairs(redis.call('HVALS', p .. 'collections')) do
    reply[#reply + 1] = id
    reply[#reply + 1] = redis.call('HGETALL', p .. 'c:' .. id)
  end
  return reply
end)

-- dump_arrays: ARGV collection id, seq after which to go on, limit of tiles and arrays together.
-- Returns {"ok", last seq or -1 at the end, then for each array {id, seq, 1 | 0 keyed, primary key or
--   "", meta, generation, time or 0, {index value, ...}, {ordinal, entry, ...}, {generation, {history
--   record}, ...}}} | {"gone"}. Each array is whole, and of one moment.
reading('dump_arrays', function(p, args)
  local key, left = p .. 'c:' .. args[1], tonumber(args[3])
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local page = redis.call('ZRANGEBYSCORE', key .. ':arrays', '(' .. args[2], '+inf',
    'WITHSCORES', 'LIMIT', 0, left)
  local reply, full = {'ok', -1}, #page == 2 * left
  for i = 1, #page, 2 do
    local array, seq = p .. 'a:' .. page[i], tonumber(page[i + 1])
    local found = redis.call('HMGET', array, 'pk', 'meta', 'generation', 'time')
    local index = redis.call('HGET', key .. ':x', struct.pack('>I8', seq))
    local manifest, history = redis.call('HGETALL', array .. ':m'), redis.call('HGETALL', array .. ':h')
    for j = 1, #history, 2 do
      local record, tiles = cmsgpack.unpack(history[j + 1])
      record[4] = nil -- the number of tiles
      for k = 1, #tiles do
        record[k + 3] = tiles[k]
      end
      history[j], history[j + 1] = tonumber(history[j]), record
    end
    reply[#reply + 1] = {page[i], seq, found[1] and 1 or 0, found[1] or '', found[2] or '',
      tonumber(found[3] or 0), tonumber(found[4] or 0), index and cmsgpack.unpack(index) or {},
      manifest, history}
    left = left - 1 - #manifest / 2
    if (left < 1 and i < #page - 1) or (full and i == #page - 1) then
      reply[2] = seq
      break
    end
  end
  return reply
end)

-- What stands in the way of the attempt with this mark; nil if nothing does.
local function find_rival(p, mark)
  if has_cluster(p) then
    return {'alive'}
  elseif redis.call('GET', p .. 'rebuild') ~= mark then
    return {'other'}
  end
end

-- rebuild_clear: ARGV mark of this attempt, cursor, limit. Removes what was left here; start with
-- cursor "0", which ends other attempts.
-- Returns {"ok", cursor}, which is "0" at the end | {"alive"} there is a cluster
--   | {"other"} another attempt was begun later
repeatable('rebuild_clear', function(p, args)
  if args[2] == '0' and not has_cluster(p) then
    redis.call('SET', p .. 'rebuild', args[1])
  end
  local rival = find_rival(p, args[1])
  if rival then
    return rival
  end
  local found = redis.call('SCAN', args[2], 'MATCH', p .. '*', 'COUNT', args[3])
  for _, key in ipairs(found[2]) do
    if not KEPT[string.sub(key, #p + 1)] then
      redis.call('UNLINK', key)
    end
  end
  return {'ok', found[1]}
end)

-- Functions that put things in place: ARGV the mark, then for each of them n, then its n words, which
-- the body gets. All return {"ok"} | {"alive"} | {"other"}, see above
local function putting(name, body)
  repeatable('rebuild_' .. name, function(p, args)
    local rival = find_rival(p, args[1])
    if rival then
      return rival
    end
    local i = 2
    while i <= #args do
      local words, n = {}, tonumber(args[i])
      for j = 1, n do
        words[j] = args[i + j]
      end
      body(p, words)
      i = i + 1 + n
    end
    return {'ok'}
  end)
end

-- rebuild_shards: words fields and values of the hash.
putting('shards', function(p, args)
  sliced('HSET', p .. 'shards', args)
end)

-- rebuild_collection: words id, fields and values of its hash.
putting('collection', function(p, args)
  local key = p .. 'c:' .. table.remove(args, 1)
  sliced('HSET', key, args)
  redis.call('HSET', p .. 'collections', redis.call('HGET', key, 'name'), string.sub(key, #p + 3))
end)

-- rebuild_array: words collection id, array id, seq, "1" or "0" keyed, primary key or "", meta,
-- generation, time or 0, index values...
putting('array', function(p, args)
  local collection, array = p .. 'c:' .. args[1], p .. 'a:' .. args[2]
  redis.call('HSET', array, 'cid', args[1], 'meta', args[6], 'generation', args[7])
  if args[8] ~= '0' then
    redis.call('HSET', array, 'time', args[8])
  end
  redis.call('ZADD', collection .. ':arrays', args[3], args[2])
  if args[4] == '1' then
    redis.call('HSET', array, 'pk', args[5])
    redis.call('HSET', collection .. ':pk', args[5], args[2])
  end
  if #args > 8 then
    set_index(collection, tonumber(args[3]), #args - 8, args, 8)
  end
end)

-- rebuild_entries: words array id, ordinals and entries...
putting('entries', function(p, args)
  local key = p .. 'a:' .. table.remove(args, 1) .. ':m'
  sliced('HSET', key, args)
end)

-- rebuild_history: words array id, when its oldest record may have to go or 0, generation, time of
-- it, time of the one before or 0, token, ordinals and entries...
putting('history', function(p, args)
  local tiles = {}
  for i = 7, #args do
    tiles[i - 6] = args[i]
  end
  redis.call('HSET', p .. 'a:' .. args[1] .. ':h', args[3],
    pack_record(tonumber(args[4]), tonumber(args[5]), args[6], tiles))
  if args[2] ~= '0' then
    redis.call('ZADD', p .. 'histories', 'LT', args[2], args[1])
  end
end)

-- rebuild_garbage: words time in s until it may be deleted, item.
putting('garbage', function(p, args)
  redis.call('ZADD', p .. 'garbage', now_ms() + 1000 * tonumber(args[1]), args[2])
end)

-- rebuild_end: ARGV operation, mark, fields and values of the cluster's hash. From now on there is one.
-- Returns {"ok"} | {"alive"} | {"other"}
changing('rebuild_end', function(p, args)
  local rival = find_rival(p, args[2])
  if rival then
    return rival, false
  end
  redis.call('HSET', p .. 'cluster', unpack(args, 3))
  redis.call('DEL', p .. 'rebuild')
  return {'ok'}
end)

-- rebuild_begin: ARGV operation, id of the cluster. Removes the cluster's record: nobody can use the
-- registry until it has been made again. Returns {"ok"} | {"other", id of the cluster that is there}
changing('rebuild_begin', function(p, args)
  local id = redis.call('HGET', p .. 'cluster', 'id')
  if id and id ~= args[2] then
    return {'other', id}, false
  end
  redis.call('UNLINK', p .. 'cluster')
  return {'ok'}
end, {'allow-oom'})
