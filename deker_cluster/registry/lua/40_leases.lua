-- Manifests, leases on tiles, and the queue of those who wait for them.
--
-- a:<aid>:m: hash ordinal -> entry (opaque);  a:<aid>:l: hash ordinal -> token of its lease
-- tokens: the newest token;  leases: zset token -> when it expires, in ms
-- tx:<token>: hash owner, since (ms), first (of a transaction that may ask for more: its oldest token),
--   "a:<aid>" -> leased ordinals as "first-last,first-last,..."
-- waiter:<id>: hash until (ms: forgotten then), seq, "a:<aid>" -> wanted ordinals, likewise
-- waiters: number of the waiter that came last;  a:<aid>:w: zset waiter id -> its seq
-- wake:<id>: list that has an element when the waiter should ask again
-- garbage: zset -> when the item may be deleted, in ms. Items:
--   "E:<aid>:<ordinal>:<entry>" an entry that nothing can be read by any more
--   "M:<aid>:<ordinal>:<entry>" an entry after whose tile was moved: what only it names
--   "S:<aid>:<ordinal>:<token>" a version that was leased and never committed
--   "A:<aid>:<token>"           all versions of an array up to token;   "C:<cid>" a collection

local WAIT_MS = 2000 -- a waiter that has not asked again for so long has died
local WAKE_MS = 5000

-- Wakes who waits for one of these tiles of an array, but not those who have somebody before them
-- that wants one of the same tiles: their turn comes after his.
local function wake(p, array, runs)
  local before = {}
  for _, waiter in ipairs(redis.call('ZRANGE', p .. 'a:' .. array .. ':w', 0, -1)) do
    local wanted = unpack_runs(redis.call('HGET', p .. 'waiter:' .. waiter, 'a:' .. array) or '')
    if common_ordinal(wanted, runs) and not common_ordinal(before, wanted) then
      local key = p .. 'wake:' .. waiter
      if redis.call('EXISTS', key) == 0 then
        redis.call('RPUSH', key, 1)
      end
      redis.call('PEXPIRE', key, WAKE_MS)
    end
    before = joined_runs(before, wanted)
    if covers(before, runs) then
      return
    end
  end
end

-- Takes a waiter out of the queue; returns what it wanted: {array id, runs, ...}.
local function leave_queue(p, waiter)
  local held, wanted = redis.call('HGETALL', p .. 'waiter:' .. waiter), {}
  for i = 1, #held, 2 do
    local array = string.match(held[i], '^a:(.*)$')
    if array then
      redis.call('ZREM', p .. 'a:' .. array .. ':w', waiter)
      wanted[#wanted + 1], wanted[#wanted + 2] = array, unpack_runs(held[i + 1])
    end
  end
  redis.call('UNLINK', p .. 'waiter:' .. waiter, p .. 'wake:' .. waiter)
  return wanted
end

-- Ends a transaction: its leases go, and the versions that it may have staged become garbage,
-- except those of the tiles in committed (array id -> set of ordinals): which of a transaction's
-- tokens names the version that counts stands in the entry, which is opaque here. Who writes a tile
-- twice deletes the first version himself.
local function end_transaction(p, token, due, committed)
  local held = redis.call('HGETALL', p .. 'tx:' .. token)
  for i = 1, #held, 2 do
    local array = string.match(held[i], '^a:(.*)$')
    if array then
      local runs = unpack_runs(held[i + 1])
      local ordinals = ordinals_of(runs)
      local key, kept = p .. 'a:' .. array .. ':l', committed[array] or {}
      local owners = values_of(key, ordinals)
      local release, garbage = {}, {}
      for j = 1, #ordinals do
        -- The array may have been deleted, made anew and leased by someone else; or the tile has
        -- passed over to a newer token of the same transaction.
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
      wake(p, array, runs)
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

-- Groups args[first...] = (array id, collection id or "", [note,] n, n times `width` values)... by
-- array: as many as count says, or up to the end. Returns a list of {array =, collection =, note =,
-- n =, columns = {list, ...}}, and the place after it.
local function parse_groups(args, first, width, count, noted)
  local groups, i = {}, first
  while i <= #args and #groups < (count or math.huge) do
    local group = {array = args[i], collection = args[i + 1], columns = {}}
    if noted then
      group.note, i = args[i + 2], i + 1
    end
    group.n, i = tonumber(args[i + 2]), i + 3
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
  return groups, i
end

-- First tile of groups that a live lease holds, but those of own: array, ordinal, token, remaining
-- ms; else nil. Tokens of expired leases met on the way are collected in expired.
local function find_holder(p, groups, now, own, expired)
  local expiry = {}
  for _, group in ipairs(groups) do
    local holders = values_of(p .. 'a:' .. group.array .. ':l', group.columns[1])
    for i = 1, group.n do
      local token = holders[i]
      if token and not own[token] then
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

-- First tile of groups that somebody waits for who came before seq: array, ordinal, remaining ms.
local function find_waiter(p, groups, seq, now)
  for _, group in ipairs(groups) do
    local queue = redis.call('ZRANGE', p .. 'a:' .. group.array .. ':w', 0, -1, 'WITHSCORES')
    for i = 1, #queue, 2 do
      if tonumber(queue[i + 1]) < seq then
        local found = redis.call('HMGET', p .. 'waiter:' .. queue[i], 'until', 'a:' .. group.array)
        if not found[1] or not found[2] or tonumber(found[1]) <= now then
          leave_queue(p, queue[i])
          redis.call('ZREM', p .. 'a:' .. group.array .. ':w', queue[i])
        else
          local ordinal = common_ordinal(group.runs, unpack_runs(found[2]))
          if ordinal then
            return group.array, digits(ordinal), tonumber(found[1]) - now
          end
        end
      end
    end
  end
end

-- Puts a waiter into the queue, or lets it stay there; returns its number.
local function stand_in_queue(p, waiter, groups, now)
  local key = p .. 'waiter:' .. waiter
  local seq = redis.call('HGET', key, 'seq')
  if not seq then
    seq = digits(redis.call('INCR', p .. 'waiters'))
    redis.call('HSET', key, 'seq', seq)
    for _, group in ipairs(groups) do
      redis.call('HSET', key, 'a:' .. group.array, pack_runs(group.runs))
      redis.call('ZADD', p .. 'a:' .. group.array .. ':w', seq, waiter)
    end
  end
  redis.call('HSET', key, 'until', digits(now + WAIT_MS))
  redis.call('PEXPIRE', key, 2 * WAIT_MS)
  for _, group in ipairs(groups) do
    -- Nobody may come any more who would find that the last one in this queue has died.
    redis.call('PEXPIRE', p .. 'a:' .. group.array .. ':w', 2 * WAIT_MS)
  end
  -- What woke it so far is answered by this call.
  redis.call('UNLINK', p .. 'wake:' .. waiter)
end

-- acquire: ARGV operation, owner, time to live in ms, waiter id or "", -1 or k, k tokens that the
-- caller's transaction holds, then for each array: id, collection id or "", n, n ordinals. -1 says
-- that the caller will not ask for more while it holds these.
-- All or nothing. Leases that have expired are taken over, and what they staged becomes garbage.
-- Tiles of the caller's own tokens pass over to the new one. When something is in the way, a caller
-- with a waiter id gets a place in the queue, which it keeps by asking again within WAIT_MS; the
-- element in its list "wake" tells when that makes sense. Who comes later does not overtake it,
-- unless he holds tiles: the one may be waiting for those.
-- Returns {"ok", token, epoch, 1 | 0 something untold may not be on disk yet (see journal()), then
--   generation and {entry or nil, ...} for each array}
--   | {"busy", array id, ordinal, owner, remaining ms, oldest token of the holder's transaction, 0
--   when the holder waits for nobody}
--   | {"waiter", array id, ordinal, remaining ms} somebody came earlier | {"gone", array id}
-- Only the token is kept under the operation's id: entries of a leased tile do not change.
redis.register_function{
  function_name = 'deker1_acquire',
  callback = function(keys, args)
    local p = prefix_of(keys)
    local operation, now, waiter, k = p .. 'op:' .. args[1], now_ms(), args[4], tonumber(args[5])
    local grows = k >= 0
    k = math.max(k, 0)
    local own, first = {}, nil
    for i = 6, 5 + k do
      own[args[i]] = true
      first = math.min(first or math.huge, tonumber(args[i]))
    end
    local groups = parse_groups(args, 6 + k, 1)
    for _, group in ipairs(groups) do
      if not alive(p, group.array, group.collection) then
        return {'gone', group.array}
      end
      group.runs = runs_of(group.columns[1])
    end
    local token = redis.call('GET', operation)
    if not token or redis.call('EXISTS', p .. 'tx:' .. token) == 0 then
      local expired, seq = {}, math.huge
      local array, ordinal, holder, remaining = find_holder(p, groups, now, own, expired)
      if waiter ~= '' then
        seq = tonumber(redis.call('HGET', p .. 'waiter:' .. waiter, 'seq') or '') or seq
      end
      if not array and k == 0 then
        array, ordinal, remaining = find_waiter(p, groups, seq, now)
      end
      if array then
        if waiter ~= '' then
          stand_in_queue(p, waiter, groups, now)
        end
        if not holder then
          return {'waiter', array, ordinal, remaining}
        end
        local found = redis.call('HMGET', p .. 'tx:' .. holder, 'owner', 'first')
        return {'busy', array, ordinal, found[1] or '', remaining, found[2] or '0'}
      end
      if waiter ~= '' then
        leave_queue(p, waiter)
      end
      for old in pairs(expired) do
        end_transaction(p, old, due_ms(p, now), {})
      end
      token = digits(redis.call('INCR', p .. 'tokens'))
      redis.call('HSET', p .. 'tx:' .. token, 'owner', args[2], 'since', digits(now))
      if grows then
        redis.call('HSET', p .. 'tx:' .. token, 'first', first and digits(first) or token)
      end
      for _, group in ipairs(groups) do
        local leases = {}
        for i = 1, group.n do
          leases[2 * i - 1] = group.columns[1][i]
          leases[2 * i] = token
        end
        sliced('HSET', p .. 'a:' .. group.array .. ':l', leases)
        redis.call('HSET', p .. 'tx:' .. token, 'a:' .. group.array, pack_runs(group.runs))
      end
      redis.call('ZADD', p .. 'leases', now + tonumber(args[3]), token)
      redis.call('SET', operation, token, 'PX', OPERATION_MS)
    end
    local reply = {'ok', token, epoch_of(p), redis.call('EXISTS', p .. 'journal:untold')}
    for _, group in ipairs(groups) do
      reply[#reply + 1] = (alive(p, group.array))
      reply[#reply + 1] = values_of(p .. 'a:' .. group.array .. ':m', group.columns[1])
    end
    return reply
  end,
}

-- withdraw: ARGV waiter. Leaves the queue, and gives back what an acquire was granted that had the
-- waiter's id as its operation. Returns {"ok"}
repeatable('withdraw', function(p, args)
  local wanted, token = leave_queue(p, args[1]), redis.call('GET', p .. 'op:' .. args[1])
  if token then
    end_transaction(p, token, due_ms(p, now_ms()), {})
  end
  for i = 1, #wanted, 2 do
    wake(p, wanted[i], wanted[i + 1])
  end
  return {'ok'}
end, {'allow-oom'})

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
