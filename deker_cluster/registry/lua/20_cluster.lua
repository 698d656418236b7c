-- The cluster's record and its shards.
--
-- cluster: hash id, format, epoch, "s:<setting>" -> JSON of its value
-- shards: hash "next" -> next free number, "u:<uuid>" -> number, and for every number n
--   "<n>:uuid", "<n>:incarnation", "<n>:i:<key>" -> JSON of a value of the shard's info.
-- Values stand in fields of their own because cjson would change them (empty lists, long integers).

local LAST_SHARD = 65535 -- manifest entries hold shard numbers of 16 bits

local function next_epoch(p)
  return redis.call('HINCRBY', p .. 'cluster', 'epoch', 1)
end

-- Sets fields from the flat list args[first...] of (key, JSON); true if any differs.
local function set_fields(key, prefix, args, first)
  local differs = false
  for i = first, #args, 2 do
    local field = prefix .. args[i]
    if redis.call('HGET', key, field) ~= args[i + 1] then
      redis.call('HSET', key, field, args[i + 1])
      differs = true
    end
  end
  return differs
end

-- create_cluster: ARGV operation, id, format, then (setting, JSON) pairs.
-- Returns {"ok", {cluster hash}}: that of the first caller, whoever asks.
changing('create_cluster', function(p, args)
  local key = p .. 'cluster'
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'id', args[2], 'format', args[3], 'epoch', 1)
    set_fields(key, 's:', args, 4)
    journal(p, {'cluster', redis.call('HGETALL', key)})
  end
  return {'ok', redis.call('HGETALL', key)}
end)

-- cluster: no ARGV. Returns {"ok", {cluster hash}}, the hash empty when there is no cluster.
reading('cluster', function(p)
  return {'ok', redis.call('HGETALL', p .. 'cluster')}
end)

-- update_settings: ARGV operation, then (setting, JSON) pairs.
-- Returns {"ok", {cluster hash}} | {"nocluster"}
changing('update_settings', function(p, args)
  if not has_cluster(p) then
    return {'nocluster'}, false
  end
  if set_fields(p .. 'cluster', 's:', args, 2) then
    journal(p, {'cluster', redis.call('HGETALL', p .. 'cluster')})
  end
  return {'ok', redis.call('HGETALL', p .. 'cluster')}
end)

local function journal_shard(p, number, own)
  local key = p .. 'shards'
  local record = {'next', redis.call('HGET', key, 'next'),
    'u:' .. redis.call('HGET', key, number .. ':uuid'), number}
  for i = 1, #own do
    record[#record + 1] = own[i]
  end
  journal(p, {'shard', record})
  journal(p, {'cluster', redis.call('HGETALL', p .. 'cluster')}) -- the epoch
end

-- register_shard: ARGV operation, uuid, then (info key, JSON) pairs, merged into what is known.
-- Returns {"ok", number, {shards hash, this shard's fields only}} | {"nocluster"} | {"full"}
changing('register_shard', function(p, args)
  if not has_cluster(p) then
    return {'nocluster'}, false
  end
  local key, uuid = p .. 'shards', args[2]
  local number = redis.call('HGET', key, 'u:' .. uuid)
  if not number then
    number = redis.call('HGET', key, 'next') or '0'
    if tonumber(number) > LAST_SHARD then
      return {'full'}, false
    end
    redis.call('HSET', key, 'next', tonumber(number) + 1, 'u:' .. uuid, number, number .. ':uuid', uuid)
  end
  redis.call('HINCRBY', key, number .. ':incarnation', 1)
  set_fields(key, number .. ':i:', args, 3)
  next_epoch(p)
  local own, all = {}, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if string.match(all[i], '^(%d+):') == number then
      own[#own + 1] = all[i]
      own[#own + 1] = all[i + 1]
    end
  end
  journal_shard(p, number, own)
  return {'ok', tonumber(number), own}
end)

-- update_shard: ARGV operation, number, incarnation or "", then (info key, JSON) pairs.
-- Returns {"ok"} | {"old"} a newer incarnation owns the shard | {"noshard"}
changing('update_shard', function(p, args)
  local key, number = p .. 'shards', args[2]
  local incarnation = redis.call('HGET', key, number .. ':incarnation')
  if not incarnation then
    return {'noshard'}, false
  end
  if args[3] ~= '' and tonumber(args[3]) < tonumber(incarnation) then
    return {'old'}, false
  end
  -- Without a difference the epoch stays: a new one makes every client fetch the map again.
  if set_fields(key, number .. ':i:', args, 4) then
    next_epoch(p)
    local own = {}
    for i = 4, #args, 2 do
      own[#own + 1] = number .. ':i:' .. args[i]
      own[#own + 1] = args[i + 1]
    end
    journal_shard(p, number, own)
  end
  return {'ok'}
end)

-- shard_map: no ARGV. Returns {"ok", epoch, {shards hash}} | {"nocluster"}
reading('shard_map', function(p)
  if not has_cluster(p) then
    return {'nocluster'}
  end
  return {'ok', epoch_of(p), redis.call('HGETALL', p .. 'shards')}
end)
