-- How much of the past a collection keeps: fields keep, keep_ms and feed of its hash.

local FEED_LENGTH = 10000 -- changes that a collection's feed keeps, unless it says otherwise

local function append_retention(fields, args, first)
  for i, field in ipairs({'keep', 'keep_ms', 'feed'}) do
    fields[#fields + 1] = field
    fields[#fields + 1] = digits(tonumber(args[first + i - 1]))
  end
end

-- set_retention: ARGV operation, collection id, generations, age in ms or 0 for any, changes.
-- A generation of an array can be read while it is one of the last `generations` and was replaced
-- less than `age` ago; the feed keeps about the last `changes` changes. Of arrays that nobody
-- writes to, what is too much goes after schedule_trims.
-- Returns {"ok"} | {"gone"}
changing('set_retention', function(p, args)
  local key, fields = p .. 'c:' .. args[2], {}
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}, false
  end
  append_retention(fields, args, 3)
  redis.call('HSET', key, unpack(fields))
  journal(p, {'collection', args[2], fields})
  return {'ok'}
end)

-- retention: ARGV collection id. Returns {"ok", generations, age in ms or 0, changes} | {"gone"}
reading('retention', function(p, args)
  local key = p .. 'c:' .. args[1]
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local found = redis.call('HMGET', key, 'keep', 'keep_ms', 'feed')
  return {'ok', tonumber(found[1] or 1), tonumber(found[2] or 0), tonumber(found[3] or FEED_LENGTH)}
end)
