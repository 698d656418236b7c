-- What checks and statistics read: many things at once, as they are stored, also what is damaged.

-- manifests: ARGV collection id, seq, cursor, limit. Goes on after the array of that seq or, with a
-- cursor other than "0", inside it.
-- Looks at up to limit entries, or at as many arrays, and some more: small hashes come whole.
-- Returns {"ok", seq, cursor, then (array id, generation, {ordinal, entry, ...})...} | {"gone"};
--   seq is -1 at the end. Arrays without entries are left out.
-- An entry that moves while its hash is being resized may come twice, but none is left out.
reading('manifests', function(p, args)
  local key, seq, cursor, left = p .. 'c:' .. args[1], args[2], args[3], tonumber(args[4])
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local page = redis.call('ZRANGEBYSCORE', key .. ':arrays', (cursor == '0' and '(' or '') .. seq,
    '+inf', 'WITHSCORES', 'LIMIT', 0, left)
  local reply, full = {'ok', '-1', '0'}, #page == 2 * left
  for i = 1, #page, 2 do
    local array = p .. 'a:' .. page[i]
    -- The array in which the last page ended may have been deleted.
    local found = redis.call('HSCAN', array .. ':m', page[i + 1] == seq and cursor or '0', 'COUNT', left)
    if #found[2] > 0 then
      reply[#reply + 1] = page[i]
      reply[#reply + 1] = tonumber(redis.call('HGET', array, 'generation') or '') or 0
      reply[#reply + 1] = found[2]
    end
    left = left - math.max(#found[2] / 2, 1)
    if found[1] ~= '0' or left < 1 or (full and i == #page - 1) then
      reply[2], reply[3] = page[i + 1], found[1]
      break
    end
  end
  return reply
end)

-- pending_garbage: ARGV cursor, limit. Returns {"ok", cursor, item, item, ...}, due or not; the
-- cursor is "0" at the end. Items that are there all the time come once or twice.
reading('pending_garbage', function(p, args)
  local found = redis.call('ZSCAN', p .. 'garbage', args[1], 'COUNT', args[2])
  local reply = {'ok', found[1]}
  for i = 1, #found[2], 2 do
    reply[#reply + 1] = found[2][i]
  end
  return reply
end)

local function holds_some(p, token, collection)
  if collection == '' then
    return true
  end
  for _, field in ipairs(redis.call('HKEYS', p .. 'tx:' .. token)) do
    local array = string.match(field, '^a:(.*)$')
    if array and redis.call('HGET', p .. 'a:' .. array, 'cid') == collection then
      return true
    end
  end
  return false
end

-- break_locks: ARGV operation, collection id or "", newest token or "", limit.
-- Ends up to limit transactions that hold tiles of the collection's arrays, or of any, and that
-- began no later than the newest token (the newest of all, when ""). Their commits are refused.
-- Returns {"ok", how many, newest token}
changing('break_locks', function(p, args)
  local newest, due, ended = args[3], due_ms(p, now_ms()), 0
  if newest == '' then
    newest = redis.call('GET', p .. 'tokens') or '0'
  end
  for _, token in ipairs(redis.call('ZRANGE', p .. 'leases', 0, -1)) do
    if ended == tonumber(args[4]) then
      break
    end
    if tonumber(token) <= tonumber(newest) and holds_some(p, token, args[2]) then
      end_transaction(p, token, due, {})
      ended = ended + 1
    end
  end
  return {'ok', ended, newest}, ended > 0
end, {'allow-oom'})

-- stored_collections: no ARGV.
-- Returns {"ok", {name, id, name in its record's hash or nil, record or nil}, ...}
reading('stored_collections', function(p)
  local names, reply = redis.call('HGETALL', p .. 'collections'), {'ok'}
  for i = 1, #names, 2 do
    local found = redis.call('HMGET', p .. 'c:' .. names[i + 1], 'name', 'record')
    reply[#reply + 1] = {names[i], names[i + 1], found[1], found[2]}
  end
  return reply
end)

-- stored_arrays: ARGV collection id, seq after which to go on, limit. Returns {"ok", last seq or -1
-- at the end, {id, collection id, meta, primary key, id found by that key}, ...} | {"gone"};
--   nil for what is not stored.
reading('stored_arrays', function(p, args)
  local key, limit = p .. 'c:' .. args[1], tonumber(args[3])
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local page = redis.call('ZRANGEBYSCORE', key .. ':arrays', '(' .. args[2], '+inf',
    'WITHSCORES', 'LIMIT', 0, limit)
  local reply = {'ok', #page == 2 * limit and tonumber(page[#page]) or -1}
  for i = 1, #page, 2 do
    local found = redis.call('HMGET', p .. 'a:' .. page[i], 'cid', 'meta', 'pk')
    local keyed = found[3] and redis.call('HGET', key .. ':pk', found[3])
    reply[#reply + 1] = {page[i], found[1], found[2], found[3], keyed}
  end
  return reply
end)

-- dangling_keys: ARGV collection id, cursor, limit.
-- Returns {"ok", cursor, then (primary key, array id)...}: those keys whose array is not in the
-- collection, or has another key; the cursor is "0" at the end.
reading('dangling_keys', function(p, args)
  local found = redis.call('HSCAN', p .. 'c:' .. args[1] .. ':pk', args[2], 'COUNT', args[3])
  local reply = {'ok', found[1]}
  for i = 1, #found[2], 2 do
    local stored = redis.call('HMGET', p .. 'a:' .. found[2][i + 1], 'cid', 'pk')
    if stored[1] ~= args[1] or stored[2] ~= found[2][i] then
      reply[#reply + 1] = found[2][i]
      reply[#reply + 1] = found[2][i + 1]
    end
  end
  return reply
end)

-- current_tiles: ARGV for each array: id, "", n, n ordinals.
-- Returns {"ok", then for each array {collection id or nil, 1 | 0, {entry or nil, ...}}...}: 0 when
-- the array cannot be used, as it or its collection was deleted.
reading('current_tiles', function(p, args)
  local reply = {'ok'}
  for _, group in ipairs(parse_groups(args, 1, 1)) do
    local key = p .. 'a:' .. group.array
    reply[#reply + 1] = {
      redis.call('HGET', key, 'cid'),
      alive(p, group.array) and 1 or 0,
      values_of(key .. ':m', group.columns[1]),
    }
  end
  return reply
end)
