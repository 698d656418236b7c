-- Moves of stored tiles: the same version on other shards. What it holds does not change, hence
-- neither does the generation.
--
-- condemned: zset "<aid>:<ordinal>:<version>:<shard number>" -> until when, in ms, no move may bring
--   the file back there: somebody may be about to delete it.

local CONDEMNED_MS = 3600000
-- So long after it was announced, what no entry names is deleted where it was copied to.
local ANNOUNCED_MS = 120000

local function version_of(entry)
  return #entry >= 9 and digits(struct.unpack('<I8', entry, 2)) or '0'
end

local function shards_of(entry)
  local found, list = {}, string.sub(entry, FILE_BYTES + 2)
  for i = 1, #list - 1, 2 do
    found[digits(string.byte(list, i) + 256 * string.byte(list, i + 1))] = true
  end
  return found
end

-- Whether the old entry names a shard that the new one does not.
local function leaves_some(old, new)
  local stay = shards_of(new)
  for number in pairs(shards_of(old)) do
    if not stay[number] then
      return true
    end
  end
end

-- Whether the new entry names a shard where the file is condemned.
local function brings_back(p, array, ordinal, new, now)
  for number in pairs(shards_of(new)) do
    local file = array .. ':' .. ordinal .. ':' .. version_of(new) .. ':' .. number
    local till = redis.call('ZSCORE', p .. 'condemned', file)
    if till and tonumber(till) > now then
      return true
    end
  end
end

-- Puts the new entries (old -> new, by ordinal) into what the history and the pins of an array keep.
-- Returns the ordinals that were found there, as a set.
local function move_kept(p, key, moves)
  local found = {}
  local history = redis.call('HGETALL', key .. ':h')
  for i = 1, #history, 2 do
    local record, tiles = cmsgpack.unpack(history[i + 1])
    local differs = false
    for j = 1, #tiles, 2 do
      local move = moves[tiles[j]]
      if move and tiles[j + 1] == move.old then
        tiles[j + 1], differs, found[tiles[j]] = move.new, true, true
      end
    end
    if differs then
      redis.call('HSET', key .. ':h', history[i], cmsgpack.pack(record, tiles))
    end
  end
  for _, pin in ipairs(redis.call('HKEYS', key .. ':p')) do
    local overlay = p .. 'pin:' .. pin .. ':o'
    for ordinal, move in pairs(moves) do
      if redis.call('HGET', overlay, ordinal) == move.old then
        redis.call('HSET', overlay, ordinal, move.new)
        found[ordinal] = true
      end
    end
  end
  return found
end

-- move: ARGV operation, array id, "1" | "0" also in what history and pins keep, then (ordinal, old
-- entry, new entry)...
-- Changes the shards of entries, each only if it is still the old one, and nobody has leased the tile:
-- his commit would be refused. The old places become garbage as a whole; those that an entry still
-- names are not deleted. Each tile at most once.
-- Returns {"ok", 1 | 0 for each of the tiles: whether anything was changed} | {"gone"}
--   | {"lost", number} a shard that no entry may name
changing('move', function(p, args)
  local array, now = args[2], now_ms()
  local key, due = p .. 'a:' .. array, due_ms(p, now)
  if not alive(p, array) then
    return {'gone'}, false
  end
  local lost = lost_shard(p, args, 6, 3)
  if lost then
    return {'lost', lost}, false
  end
  local reply, told, kept = {'ok'}, {}, {}
  for i = 4, #args, 3 do
    local ordinal, old, new = args[i], args[i + 1], args[i + 2]
    local holder = redis.call('HGET', key .. ':l', ordinal)
    local expires = holder and redis.call('ZSCORE', p .. 'leases', holder)
    local moved = 0
    if same_file(old, new) and not (expires and tonumber(expires) > now)
      and not brings_back(p, array, ordinal, new, now) then
      if redis.call('HGET', key .. ':m', ordinal) == old then
        redis.call('HSET', key .. ':m', ordinal, new)
        moved = 1
      elseif args[3] == '1' then
        kept[ordinal] = {old = old, new = new, at = #reply + 1}
      end
    end
    reply[#reply + 1] = moved
    if moved == 1 then
      told[#told + 1], told[#told + 2], told[#told + 3] = ordinal, old, new
    end
  end
  if next(kept) then
    for ordinal in pairs(move_kept(p, key, kept)) do
      local move = kept[ordinal]
      reply[move.at] = 1
      told[#told + 1], told[#told + 2], told[#told + 3] = ordinal, move.old, move.new
    end
  end
  local garbage = {}
  for i = 1, #told, 3 do
    if leaves_some(told[i + 1], told[i + 2]) then
      garbage[#garbage + 1] = due
      garbage[#garbage + 1] = 'M:' .. array .. ':' .. told[i] .. ':' .. told[i + 1]
    end
  end
  sliced('ZADD', p .. 'garbage', garbage)
  if #told > 0 then
    journal(p, {'move', array, told}, true)
  end
  return reply, #told > 0
end)

-- announce: ARGV garbage items "M:<aid>:<ordinal>:<entry>"..., whose entries name the shards where
-- files are to be copied. Whoever dies before the copies have their names leaves these to the sweep.
repeatable('announce', function(p, args)
  local due, rows = now_ms() + ANNOUNCED_MS, {}
  for i, item in ipairs(args) do
    rows[2 * i - 1], rows[2 * i] = due, item
  end
  sliced('ZADD', p .. 'garbage', rows)
  return {'ok'}
end)

-- Entries that the manifest, the history and pins of an array have of some tiles, a set of ordinals:
-- a list for each of them.
local function all_named(p, key, ordinals)
  local found = {}
  for ordinal in pairs(ordinals) do
    found[ordinal] = {redis.call('HGET', key .. ':m', ordinal) or nil}
  end
  local function add(ordinal, entry)
    if entry and found[ordinal] then
      table.insert(found[ordinal], entry)
    end
  end
  for _, packed in ipairs(redis.call('HVALS', key .. ':h')) do
    local _, tiles = cmsgpack.unpack(packed)
    for i = 1, #tiles, 2 do
      add(tiles[i], tiles[i + 1])
    end
  end
  for _, pin in ipairs(redis.call('HKEYS', key .. ':p')) do
    for ordinal in pairs(ordinals) do
      add(ordinal, redis.call('HGET', p .. 'pin:' .. pin .. ':o', ordinal))
    end
  end
  return found
end

-- condemn: ARGV garbage items "M:<aid>:<ordinal>:<entry>"...
-- Returns {"ok", then for each {shard number, ...}}: where nothing names the file any more. No move
-- names it there from now on, for an hour: whoever deletes it there has so long. Lost shards are left
-- out: what they have is looked through when they come back, and may be brought back right after.
repeatable('condemn', function(p, args)
  local reply, now, items, wanted, named = {'ok'}, now_ms(), {}, {}, {}
  redis.call('ZREMRANGEBYSCORE', p .. 'condemned', '-inf', now)
  for i, item in ipairs(args) do
    local array, ordinal, entry = string.match(item, '^M:([^:]*):(%d+):(.*)$')
    items[i] = {array = array, ordinal = ordinal, entry = entry}
    wanted[array] = wanted[array] or {}
    wanted[array][ordinal] = true
  end
  for array, ordinals in pairs(wanted) do
    named[array] = all_named(p, p .. 'a:' .. array, ordinals)
  end
  for _, item in ipairs(items) do
    local numbers, list = shards_of(item.entry), {}
    for _, other in ipairs(named[item.array][item.ordinal]) do
      if same_file(other, item.entry) then
        for number in pairs(shards_of(other)) do
          numbers[number] = nil
        end
      end
    end
    for number in pairs(numbers) do
      if state_of(p, number) ~= '"lost"' then
        list[#list + 1] = tonumber(number)
        redis.call('ZADD', p .. 'condemned', now + CONDEMNED_MS, item.array .. ':' .. item.ordinal
          .. ':' .. version_of(item.entry) .. ':' .. number)
      end
    end
    reply[#reply + 1] = list
  end
  return reply
end)

-- condemned: ARGV "<aid>:<ordinal>:<version>:<shard number>"... Returns {"ok", 1 | 0 for each}
reading('condemned', function(p, args)
  local reply, now = {'ok'}, now_ms()
  for i, file in ipairs(args) do
    reply[i + 1] = tonumber(redis.call('ZSCORE', p .. 'condemned', file) or 0) > now and 1 or 0
  end
  return reply
end)
