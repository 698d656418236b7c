-- Manifests, leases and the commit.
--
-- a:<aid>:m: hash ordinal -> entry (opaque);  a:<aid>:l: hash ordinal -> token of its lease
-- tokens: the newest token;  leases: zset token -> when it expires, in ms
-- tx:<token>: hash owner, "a:<aid>" -> leased ordinals as "first-last,first-last,..."
-- garbage: zset -> when the item may be deleted, in ms. Items:
--   "E:<aid>:<ordinal>:<entry>" an entry that was replaced or removed
--   "S:<aid>:<ordinal>:<token>" a version that was leased and never committed
--   "A:<aid>:<token>"           all versions of an array up to token;   "C:<cid>" a collection

local function pack_runs(ordinals)
  local runs, first, last = {}, nil, nil
  for i = 1, #ordinals do
    local ordinal = tonumber(ordinals[i])
    if first and ordinal == last + 1 then
      last = ordinal
    else
      if first then
        runs[#runs + 1] = digits(first) .. '-' .. digits(last)
      end
      first, last = ordinal, ordinal
    end
  end
  runs[#runs + 1] = digits(first) .. '-' .. digits(last)
  return table.concat(runs, ',')
end

local function unpack_runs(text)
  local ordinals = {}
  for first, last in string.gmatch(text, '(%d+)-(%d+)') do
    for ordinal = tonumber(first), tonumber(last) do
      ordinals[#ordinals + 1] = digits(ordinal)
    end
  end
  return ordinals
end

-- Ends a transaction: its leases go, and the versions that it may have staged become garbage,
-- except those of the tiles in committed (array id -> set of ordinals).
local function end_transaction(p, token, due, committed)
  local held = redis.call('HGETALL', p .. 'tx:' .. token)
  for i = 1, #held, 2 do
    local array = string.match(held[i], '^a:(.*)$')
    if array then
      local ordinals = unpack_runs(held[i + 1])
      local key, kept = p .. 'a:' .. array .. ':l', committed[array] or {}
      local owners = values_of(key, ordinals)
      local release, garbage = {}, {}
      for j = 1, #ordinals do
        -- The array may have been deleted, made anew and leased by someone else.
        if owners[j] == token then
          release[#release + 1] = ordinals[j]
        end
        if not kept[ordinals[j]] then
          garbage[#garbage + 1] = due
          garbage[#garbage + 1] = 'S:' .. array .. ':' .. ordinals[j] .. ':' .. token
        end
      end
      sliced('HDEL', key, release)
      sliced('ZADD', p .. 'garbage', garbage)
    end
  end
  redis.call('UNLINK', p .. 'tx:' .. token)
  redis.call('ZREM', p .. 'leases', token)
end

-- entries: ARGV array id, collection id or "", ordinals...
-- Returns {"ok", generation, epoch, {entry or nil, ...}} | {"gone"}
reading('entries', function(p, args)
  local key, generation = p .. 'a:' .. args[1] .. ':m', alive(p, args[1], args[2])
  if not generation then
    return {'gone'}
  end
  return {'ok', generation, epoch_of(p), values_of(key, args, 3)}
end)

-- all_entries: ARGV array id, collection id or "". Returns {"ok", generation, epoch, {ordinal, entry, ...}} | {"gone"}
reading('all_entries', function(p, args)
  local generation = alive(p, args[1], args[2])
  if not generation then
    return {'gone'}
  end
  return {'ok', generation, epoch_of(p), redis.call('HGETALL', p .. 'a:' .. args[1] .. ':m')}
end)

-- Groups args[first...] = (array id, collection id or "", n, n times `width` values)... by array.
-- Returns a list of {array =, collection =, n =, columns = {list, ...}}.
local function parse_groups(args, first, width)
  local groups, i = {}, first
  while i <= #args do
    local group = {array = args[i], collection = args[i + 1], n = tonumber(args[i + 2]), columns = {}}
    i = i + 3
    for column = 1, width do
      local list = {}
      for row = 1, group.n do
        list[row] = args[i + (row - 1) * width + column - 1]
      end
      group.columns[column] = list
    end
    i = i + group.n * width
    groups[#groups + 1] = group
  end
  return groups
end

-- First tile of groups that a live lease holds: array, ordinal, token, remaining ms; else nil.
-- Tokens of expired leases met on the way are collected in expired.
local function find_holder(p, groups, now, expired)
  local expiry = {}
  for _, group in ipairs(groups) do
    local holders = values_of(p .. 'a:' .. group.array .. ':l', group.columns[1])
    for i = 1, group.n do
      local token = holders[i]
      if token then
        if not expiry[token] then
          expiry[token] = tonumber(redis.call('ZSCORE', p .. 'leases', token) or 0)
        end
        if expiry[token] > now then
          return group.array, group.columns[1][i], token, expiry[token] - now
        end
        expired[token] = true
      end
    end
  end
end

-- acquire: ARGV operation, owner, time to live in ms, then for each array: id, collection id or "",
-- n, n ordinals.
-- All or nothing. Leases that have expired are taken over, and what they staged becomes garbage.
-- Returns {"ok", token, epoch, then generation and {entry or nil, ...} for each array}
--   | {"busy", array id, ordinal, owner, remaining ms} | {"gone", array id}
-- Only the token is kept under the operation's id: entries of a leased tile do not change.
redis.register_function{
  function_name = 'deker1_acquire',
  callback = function(keys, args)
    local p = prefix_of(keys)
    local operation, now = p .. 'op:' .. args[1], now_ms()
    local groups = parse_groups(args, 4, 1)
    for _, group in ipairs(groups) do
      if not alive(p, group.array, group.collection) then
        return {'gone', group.array}
      end
    end
    local token = redis.call('GET', operation)
    if not token or redis.call('EXISTS', p .. 'tx:' .. token) == 0 then
      local expired = {}
      local array, ordinal, holder, remaining = find_holder(p, groups, now, expired)
      if array then
        local owner = redis.call('HGET', p .. 'tx:' .. holder, 'owner') or ''
        return {'busy', array, ordinal, owner, remaining}
      end
      for old in pairs(expired) do
        end_transaction(p, old, due_ms(p, now), {})
      end
      token = digits(redis.call('INCR', p .. 'tokens'))
      redis.call('HSET', p .. 'tx:' .. token, 'owner', args[2])
      for _, group in ipairs(groups) do
        local leases = {}
        for i = 1, group.n do
          leases[2 * i - 1] = group.columns[1][i]
          leases[2 * i] = token
        end
        sliced('HSET', p .. 'a:' .. group.array .. ':l', leases)
        redis.call('HSET', p .. 'tx:' .. token, 'a:' .. group.array, pack_runs(group.columns[1]))
      end
      redis.call('ZADD', p .. 'leases', now + tonumber(args[3]), token)
      redis.call('SET', operation, token, 'PX', OPERATION_MS)
    end
    local reply = {'ok', token, epoch_of(p)}
    for _, group in ipairs(groups) do
      reply[#reply + 1] = (alive(p, group.array))
      reply[#reply + 1] = values_of(p .. 'a:' .. group.array .. ':m', group.columns[1])
    end
    return reply
  end,
}

-- renew: ARGV operation, token, time to live in ms. Returns {"ok", 1 | 0}: 0 when it has expired.
changing('renew', function(p, args)
  local now = now_ms()
  local expires = redis.call('ZSCORE', p .. 'leases', args[2])
  if not expires or tonumber(expires) <= now then
    return {'ok', 0}, false
  end
  redis.call('ZADD', p .. 'leases', now + tonumber(args[3]), args[2])
  return {'ok', 1}
end)

-- abort: ARGV operation, token. Returns {"ok", 1 | 0}: whether it still held leases.
changing('abort', function(p, args)
  if redis.call('EXISTS', p .. 'tx:' .. args[2]) == 0 then
    return {'ok', 0}, false
  end
  end_transaction(p, args[2], due_ms(p, now_ms()), {})
  return {'ok', 1}
end, {'allow-oom'})

-- Why the groups cannot be committed under token: word, array id, ordinal; nil when they can.
local function find_obstacle(p, token, groups, now)
  for _, group in ipairs(groups) do
    if not alive(p, group.array, group.collection) then
      return 'gone', group.array, ''
    end
  end
  local expires = redis.call('ZSCORE', p .. 'leases', token)
  if not expires or tonumber(expires) <= now then
    return 'lease', '', ''
  end
  for _, group in ipairs(groups) do
    local key, ordinals, bases = p .. 'a:' .. group.array, group.columns[1], group.columns[2]
    local holders, entries = values_of(key .. ':l', ordinals), values_of(key .. ':m', ordinals)
    for i = 1, group.n do
      if holders[i] ~= token then
        return 'tile', group.array, ordinals[i]
      end
      if (entries[i] or '') ~= bases[i] then
        return 'base', group.array, ordinals[i]
      end
    end
  end
end

-- Moves the entries of one array and returns its new generation.
local function move_entries(p, group, due)
  local key, item = p .. 'a:' .. group.array, 'E:' .. group.array .. ':'
  local set, removed, replaced, revived = {}, {}, {}, {}
  local ordinals, bases, news = group.columns[1], group.columns[2], group.columns[3]
  for i = 1, group.n do
    local ordinal, base, new = ordinals[i], bases[i], news[i]
    if new == '' then
      removed[#removed + 1] = ordinal
    else
      set[#set + 1] = ordinal
      set[#set + 1] = new
      revived[#revived + 1] = item .. ordinal .. ':' .. new
    end
    if base ~= '' and base ~= new then
      replaced[#replaced + 1] = due
      replaced[#replaced + 1] = item .. ordinal .. ':' .. base
    end
  end
  sliced('HSET', key .. ':m', set)
  sliced('HDEL', key .. ':m', removed)
  -- A tile that moves back to where it was must not be deleted there.
  if redis.call('EXISTS', p .. 'garbage') == 1 then
    sliced('ZREM', p .. 'garbage', revived)
  end
  sliced('ZADD', p .. 'garbage', replaced)
  return redis.call('HINCRBY', key, 'generation', 1)
end

-- commit: ARGV operation, token, then for each array: id, collection id or "", n, n times (ordinal,
-- base, new), "" for no entry. Each array once.
-- Returns {"ok", array id, generation, ...} | {"refused", word, array id or "", ordinal or ""}:
--   "gone" the array was deleted, "lease" the token's lease has ended, "tile" the token does not
--   hold this tile, "base" the tile's entry is another one. A refusal ends the transaction too.
changing('commit', function(p, args)
  local token, groups, now = args[2], parse_groups(args, 3, 3), now_ms()
  local due = due_ms(p, now)
  local word, array, ordinal = find_obstacle(p, token, groups, now)
  if word then
    end_transaction(p, token, due, {})
    return {'refused', word, array, ordinal}
  end
  local reply, committed = {'ok'}, {}
  for _, group in ipairs(groups) do
    reply[#reply + 1] = group.array
    reply[#reply + 1] = move_entries(p, group, due)
    local tiles = {}
    for i = 1, group.n do
      tiles[group.columns[1][i]] = true
    end
    committed[group.array] = tiles
  end
  end_transaction(p, token, due, committed)
  return reply
end)
