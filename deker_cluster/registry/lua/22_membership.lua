-- Who of the shards is there, and what was found damaged.
--
-- beats: hash shard number -> "<when it was last heard of, in ms> <JSON of what it said>"
-- notes: hash name -> JSON: what services say of their work, for people to read
-- damage: hash "<aid>:<ordinal>:<version>:<shard number>" -> when it was reported first, in ms. Files
--   that a reader found damaged or missing on a shard.

local MOST_DAMAGE = 100000 -- reports that wait: beyond it a scrub finds the rest

local function state_of(p, number)
  return redis.call('HGET', p .. 'shards', number .. ':i:state') or '"up"'
end

local function set_state(p, number, state)
  local field = number .. ':i:state'
  redis.call('HSET', p .. 'shards', field, state)
  next_epoch(p)
  journal_shard(p, number, {field, state})
end

-- Of an entry (layout: deker_cluster/core/manifest.py): what says which file it is comes first, then
-- the number of shards that hold it, one byte, and theirs, two bytes each.
local FILE_BYTES = 25

local function same_file(a, b)
  return string.sub(a, 1, FILE_BYTES) == string.sub(b, 1, FILE_BYTES)
end

-- First shard that one of entries[first], entries[first + step], ... names and no entry may: it is
-- lost. While it was away its tiles were given to others, and may be swept. Entries may be "".
local function lost_shard(p, entries, first, step)
  local lists = {}
  for i = first, #entries, step do
    lists[string.sub(entries[i], FILE_BYTES + 2)] = true
  end
  for list in pairs(lists) do
    for i = 1, #list - 1, 2 do
      local number = digits(string.byte(list, i) + 256 * string.byte(list, i + 1))
      if state_of(p, number) == '"lost"' then
        return number
      end
    end
  end
end

-- heartbeat: ARGV shard number, incarnation, JSON of what it says.
-- A shard that was only down is up again. Nothing is journaled while nothing changes.
-- Returns {"ok", JSON of its state} | {"old"} a newer incarnation owns the shard | {"noshard"}
repeatable('heartbeat', function(p, args)
  local number = args[1]
  local incarnation = redis.call('HGET', p .. 'shards', number .. ':incarnation')
  if not incarnation then
    return {'noshard'}
  end
  if tonumber(args[2]) < tonumber(incarnation) then
    return {'old'}
  end
  redis.call('HSET', p .. 'beats', number, digits(now_ms()) .. ' ' .. args[3])
  if state_of(p, number) == '"down"' then
    set_state(p, number, '"up"')
  end
  return {'ok', state_of(p, number)}
end)

-- beats: no ARGV. Returns {"ok", now in ms, {number, "<ms> <JSON>", ...}}
reading('beats', function(p)
  return {'ok', now_ms(), redis.call('HGETALL', p .. 'beats')}
end)

-- judge: ARGV operation, shard number, JSON of the state that it is in now, JSON of the new one, ms:
-- only if it has not been heard of for so long; "" to judge in any case.
-- Returns {"ok", 1 | 0}: whether that was so, and its state was changed.
changing('judge', function(p, args)
  local number = args[2]
  local known = redis.call('HEXISTS', p .. 'shards', number .. ':uuid') == 1
  if not known or state_of(p, number) ~= args[3] then
    return {'ok', 0}, false
  end
  if args[5] ~= '' then
    local beat = tonumber(string.match(redis.call('HGET', p .. 'beats', number) or '0', '^%d+'))
    if now_ms() - beat < tonumber(args[5]) then
      return {'ok', 0}, false
    end
  end
  set_state(p, number, args[4])
  return {'ok', 1}
end)

-- report_damage: ARGV "<aid>:<ordinal>:<version>:<shard number>"... Returns {"ok", how many are new}
repeatable('report_damage', function(p, args)
  local now, new = digits(now_ms()), 0
  for _, file in ipairs(args) do
    if redis.call('HLEN', p .. 'damage') < MOST_DAMAGE then
      new = new + redis.call('HSETNX', p .. 'damage', file, now)
    end
  end
  return {'ok', new}
end)

-- damage: ARGV limit. Returns {"ok", file, when in ms, ...}: some of what was reported.
reading('damage', function(p, args)
  local found = redis.call('HRANDFIELD', p .. 'damage', args[1], 'WITHVALUES')
  table.insert(found, 1, 'ok')
  return found
end)

-- forget_damage: ARGV files... Returns {"ok", how many were there}
repeatable('forget_damage', function(p, args)
  return {'ok', #args > 0 and sliced('HDEL', p .. 'damage', args) or 0}
end)

-- note: ARGV name, JSON. Returns {"ok"}
repeatable('note', function(p, args)
  redis.call('HSET', p .. 'notes', args[1], args[2])
  return {'ok'}
end)

-- notes: no ARGV. Returns {"ok", name, JSON, ...}
reading('notes', function(p)
  local found = redis.call('HGETALL', p .. 'notes')
  table.insert(found, 1, 'ok')
  return found
end)
