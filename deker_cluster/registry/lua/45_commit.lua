-- The commit, and the history of the generations that it makes.
--
-- a:<aid>:h: hash generation -> what the commit that made it has replaced, two cmsgpack values:
--   {time, time of the generation before or 0 for none, token, how many tiles}, the head, and
--   {ordinal, entry or "", ordinal, entry or "", ...}.
--   Only what the collection's retention keeps; with one generation, nothing.
-- histories: zset array id -> when its oldest record may have to go for its age, in ms

local function pack_record(time, before, token, tiles)
  return cmsgpack.pack({time, before, token, #tiles / 2}, tiles)
end

-- The head of a history record, without reading on: a record may tell of 100,000 tiles.
local function head_of(packed)
  local _, head = cmsgpack.unpack_one(packed)
  return head
end

-- Removes the history records below generation kept, or those that are too old too.
-- Returns how many it removed, the lowest generation left, nil when none is, and with too_old the
-- time of that one.
local function trim_history(p, array, kept, grace_ms, too_old)
  local key = p .. 'a:' .. array .. ':h'
  local numbers = redis.call('HKEYS', key)
  for i = 1, #numbers do
    numbers[i] = tonumber(numbers[i])
  end
  table.sort(numbers)
  for i, number in ipairs(numbers) do
    if number >= kept and not too_old then
      return i - 1, number
    end
    local packed = redis.call('HGET', key, digits(number))
    local time = head_of(packed)[1]
    if number >= kept and time > too_old then
      return i - 1, number, time
    end
    local _, tiles = cmsgpack.unpack(packed)
    retire(p, array, number, tiles, time + grace_ms)
    redis.call('HDEL', key, digits(number))
  end
  return #numbers
end

local function grace_of(p, now)
  return due_ms(p, now) - now
end

-- Why the groups cannot be committed under tokens: word, array id, ordinal; nil when they can.
local function find_obstacle(p, tokens, groups, reads, now)
  for _, list in ipairs({groups, reads}) do
    for _, group in ipairs(list) do
      if not alive(p, group.array, group.collection) then
        return 'gone', group.array, ''
      end
    end
  end
  for token in pairs(tokens) do
    local expires = redis.call('ZSCORE', p .. 'leases', token)
    if not expires or tonumber(expires) <= now then
      return 'lease', '', token
    end
  end
  for _, group in ipairs(groups) do
    local key, ordinals, bases = p .. 'a:' .. group.array, group.columns[1], group.columns[2]
    local holders, entries = values_of(key .. ':l', ordinals), values_of(key .. ':m', ordinals)
    for i = 1, group.n do
      if not tokens[holders[i] or ''] then
        return 'tile', group.array, ordinals[i]
      end
      if (entries[i] or '') ~= bases[i] then
        return 'base', group.array, ordinals[i]
      end
    end
    local lost = lost_shard(p, group.columns[3], 1, 1)
    if lost then
      return 'shard', group.array, lost
    end
  end
  for _, group in ipairs(reads) do
    local entries = values_of(p .. 'a:' .. group.array .. ':m', group.columns[1])
    for i = 1, group.n do
      -- It may have been moved to other shards since it was read.
      if not same_file(entries[i] or '', group.columns[2][i]) then
        return 'base', group.array, group.columns[1][i]
      end
    end
  end
end

-- Moves the entries of one array; returns its new generation.
local function move_entries(p, group, token, now, untold)
  local key, item = p .. 'a:' .. group.array, 'E:' .. group.array .. ':'
  local set, removed, replaced, revived, changed = {}, {}, {}, {}, {}
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
    if base ~= new then
      replaced[#replaced + 1] = ordinal
      replaced[#replaced + 1] = base
    end
    changed[2 * i - 1], changed[2 * i] = ordinal, new
  end
  sliced('HSET', key .. ':m', set)
  sliced('HDEL', key .. ':m', removed)
  -- A tile that moves back to where it was must not be deleted there.
  if redis.call('EXISTS', p .. 'garbage') == 1 then
    sliced('ZREM', p .. 'garbage', revived)
  end

  local found = redis.call('HMGET', key, 'cid', 'time')
  local collection, before = p .. 'c:' .. found[1], tonumber(found[2] or 0)
  -- The clock may have been set back: the feed, too, is looked through by time.
  local last = redis.call('XREVRANGE', collection .. ':feed', '+', '-', 'COUNT', 1)[1]
  local time = math.max(now, before, last and tonumber(last[2][6]) or 0)
  local generation = redis.call('HINCRBY', key, 'generation', 1)
  redis.call('HSET', key, 'time', digits(time))

  local retention = redis.call('HMGET', collection, 'keep', 'keep_ms', 'feed')
  local generations, grace_ms = tonumber(retention[1] or 1), grace_of(p, now)
  local kept = math.max(generation - generations + 2, 1)
  trim_history(p, group.array, kept, grace_ms)
  if generations > 1 then
    redis.call('HSET', key .. ':h', generation, pack_record(time, before, token, replaced))
    local keep_ms = tonumber(retention[2] or 0)
    if keep_ms > 0 then
      redis.call('ZADD', p .. 'histories', 'NX', time + keep_ms, group.array)
    end
  else
    retire(p, group.array, generation, replaced, time + grace_ms)
    kept = 0
  end

  local number = redis.call('HINCRBY', collection, 'changes', 1)
  redis.call('XADD', collection .. ':feed', 'MAXLEN', '~', retention[3] or FEED_LENGTH,
    digits(number) .. '-0', 'a', group.array, 'g', generation, 't', digits(time), 'c', group.n,
    'n', group.note)
  journal(p, {'commit', group.array, generation, time, token, kept, number, changed}, untold)
  return generation
end

-- commit: ARGV operation, "1" untold (see journal()) | "0", k, k tokens, then n and for n arrays: id, collection id or "", note, rows,
-- that many times (ordinal, base, new), "" for no entry; then for each array that was read: id,
-- collection id or "", rows, that many times (ordinal, entry). Each array once in each list.
-- Returns {"ok", array id, generation, ...} | {"refused", word, array id or "", ordinal or ""}:
--   "gone" the array was deleted, "lease" the lease of a token (in the place of the ordinal) has
--   ended, "tile" no token holds this tile, "base" the tile's entry is another one, "shard" a new
--   entry names a shard (in the place of the ordinal) that is lost.
-- A refusal ends the transaction too.
changing('commit', function(p, args)
  local untold, k, tokens, now = args[2] == '1', tonumber(args[3]), {}, now_ms()
  for i = 4, 3 + k do
    tokens[args[i]] = true
  end
  local groups, after = parse_groups(args, 5 + k, 3, tonumber(args[4 + k]), true)
  local reads, due = parse_groups(args, after, 2), due_ms(p, now)
  local word, array, ordinal = find_obstacle(p, tokens, groups, reads, now)
  local reply, committed = {'refused', word, array, ordinal}, {}
  if not word then
    reply = {'ok'}
    for _, group in ipairs(groups) do
      reply[#reply + 1] = group.array
      reply[#reply + 1] = move_entries(p, group, args[4], now, untold)
      local tiles = {}
      for i = 1, group.n do
        tiles[group.columns[1][i]] = true
      end
      committed[group.array] = tiles
    end
  end
  for token in pairs(tokens) do
    end_transaction(p, token, due, committed)
  end
  return reply
end, {}, OUTCOME_MS)

-- trim_histories: ARGV limit. Looks at up to limit arrays. Returns {"ok", how many}
repeatable('trim_histories', function(p, args)
  local now = now_ms()
  local arrays = redis.call('ZRANGEBYSCORE', p .. 'histories', '-inf', now, 'LIMIT', 0, args[1])
  for _, array in ipairs(arrays) do
    local cid, generation = unpack(redis.call('HMGET', p .. 'a:' .. array, 'cid', 'generation'))
    local retention = cid and redis.call('HMGET', p .. 'c:' .. cid, 'keep', 'keep_ms') or {}
    local keep_ms, removed, kept, oldest = tonumber(retention[2] or 0), 0, nil, nil
    if alive(p, array) then
      local least = math.max(tonumber(generation) - tonumber(retention[1] or 1) + 2, 1)
      local too_old = keep_ms > 0 and now - keep_ms or nil
      removed, kept, oldest = trim_history(p, array, least, grace_of(p, now), too_old)
    end
    if removed > 0 then
      journal(p, {'trim', array, kept or tonumber(generation) + 1})
    end
    if oldest then
      redis.call('ZADD', p .. 'histories', oldest + keep_ms, array)
    else
      redis.call('ZREM', p .. 'histories', array)
    end
  end
  return {'ok', #arrays}
end, {'allow-oom'})

-- schedule_trims: ARGV collection id, seq after which to go on, limit. Has trim_histories look at the
-- collection's arrays that have a history. Returns {"ok", last seq or -1 at the end}
repeatable('schedule_trims', function(p, args)
  local page = redis.call('ZRANGEBYSCORE', p .. 'c:' .. args[1] .. ':arrays', '(' .. args[2], '+inf',
    'WITHSCORES', 'LIMIT', 0, args[3])
  for i = 1, #page, 2 do
    if redis.call('EXISTS', p .. 'a:' .. page[i] .. ':h') == 1 then
      redis.call('ZADD', p .. 'histories', 0, page[i])
    end
  end
  return {'ok', #page == 2 * tonumber(args[3]) and tonumber(page[#page]) or -1}
end, {'allow-oom'})

-- history: ARGV array id, collection id or "".
-- Returns {"ok", generation, its time or 0, then for each record, the newest first, {generation,
--   time, time of the generation before or 0, how many tiles}} | {"gone"}
reading('history', function(p, args)
  local generation = alive(p, args[1], args[2])
  if not generation then
    return {'gone'}
  end
  local key = p .. 'a:' .. args[1]
  local reply = {'ok', generation, tonumber(redis.call('HGET', key, 'time') or 0)}
  for number = generation, 1, -1 do
    local packed = redis.call('HGET', key .. ':h', digits(number))
    if not packed then
      break
    end
    local head = head_of(packed)
    reply[#reply + 1] = {number, head[1], head[2], head[4]}
  end
  return reply
end)

-- pin: ARGV array id, collection id or "", pin id, time to live in ms, then "g" and a generation, "t"
-- and a time in ms, or "" and "" for the present.
-- Keeps a generation from being collected, and tells what it is made of. A repetition under the same
-- id pins the same generation.
-- Returns {"ok", generation, its time or 0, epoch, {ordinal, entry, ...}} | {"gone"}
--   | {"unkept", present generation, oldest that can be read}
repeatable('pin', function(p, args)
  local array, pin = args[1], p .. 'pin:' .. args[3]
  local present, key = alive(p, array, args[2]), p .. 'a:' .. args[1]
  if not present then
    return {'gone'}
  end
  local wanted, time = present, tonumber(redis.call('HGET', key, 'time') or 0)
  local pinned = redis.call('HMGET', pin, 'array', 'generation', 'held', 'time')
  if pinned[1] == array and not pinned[3] then
    wanted = tonumber(pinned[2])
  elseif args[5] == 'g' then
    wanted = tonumber(args[6])
  elseif args[5] == 't' then
    wanted = nil
  end
  local at, undone, generation = tonumber(args[6] or ''), {}, present
  while wanted and generation > wanted or not wanted and time > at do
    local packed = redis.call('HGET', key .. ':h', digits(generation))
    if not packed then
      if pinned[1] == array and not pinned[3] then
        break -- the rest is in the pin's overlay
      end
      return {'unkept', present, generation}
    end
    local head, tiles = cmsgpack.unpack(packed)
    for i = 1, #tiles, 2 do
      undone[tiles[i]] = tiles[i + 1]
    end
    generation, time = generation - 1, head[2]
  end
  if wanted and wanted > present then
    while redis.call('HEXISTS', key .. ':h', digits(generation)) == 1 do
      generation = generation - 1
    end
    return {'unkept', present, generation}
  end
  generation = wanted or generation
  if pinned[1] == array and not pinned[3] then
    time = tonumber(pinned[4])
    local overlay = redis.call('HGETALL', pin .. ':o')
    for i = 1, #overlay, 2 do
      undone[overlay[i]] = overlay[i + 1]
    end
  end
  local entries, manifest = {}, redis.call('HGETALL', key .. ':m')
  for i = 1, #manifest, 2 do
    if not undone[manifest[i]] then
      entries[#entries + 1], entries[#entries + 2] = manifest[i], manifest[i + 1]
    end
  end
  for ordinal, entry in pairs(undone) do
    if entry ~= '' then
      entries[#entries + 1], entries[#entries + 2] = ordinal, entry
    end
  end
  redis.call('HSET', pin, 'array', array, 'generation', generation, 'time', digits(time))
  redis.call('HSET', key .. ':p', args[3], generation)
  redis.call('ZADD', p .. 'pins', now_ms() + tonumber(args[4]), args[3])
  return {'ok', generation, time, epoch_of(p), entries}
end)

-- kept_versions: ARGV array ids. Returns {"ok", then for each array {ordinal, entry, ...}}: what its
--   history and its pins keep beside the manifest.
reading('kept_versions', function(p, args)
  local reply = {'ok'}
  for _, array in ipairs(args) do
    local kept, key = {}, p .. 'a:' .. array
    local history = redis.call('HVALS', key .. ':h')
    for _, packed in ipairs(history) do
      local _, tiles = cmsgpack.unpack(packed)
      for i = 1, #tiles, 2 do
        if tiles[i + 1] ~= '' then
          kept[#kept + 1], kept[#kept + 2] = tiles[i], tiles[i + 1]
        end
      end
    end
    for _, pin in ipairs(redis.call('HKEYS', key .. ':p')) do
      local overlay = redis.call('HGETALL', p .. 'pin:' .. pin .. ':o')
      for i = 1, #overlay, 2 do
        if overlay[i + 1] ~= '' then
          kept[#kept + 1], kept[#kept + 2] = overlay[i], overlay[i + 1]
        end
      end
    end
    reply[#reply + 1] = kept
  end
  return reply
end)

-- held_items: no ARGV. Returns {"ok", item, item, ...}: garbage that waits for the end of pins.
reading('held_items', function(p)
  local reply = {'ok'}
  for _, pin in ipairs(redis.call('ZRANGE', p .. 'pins', 0, -1)) do
    local held = redis.call('HGET', p .. 'pin:' .. pin, 'held')
    if held then
      reply[#reply + 1] = held
    end
  end
  return reply
end)
