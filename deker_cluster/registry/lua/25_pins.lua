-- Pins: what snapshots keep from being collected.
--
-- pins: zset pin id -> when it expires, in ms
-- pin:<id>: hash array, generation, time (of that one, in ms) and, once the array was deleted, held:
--   its garbage item
-- pin:<id>:o: hash ordinal -> entry in the pinned generation, "" for none, of those tiles that the
--   manifest and the history no longer tell about. Nothing in it is garbage.
-- a:<aid>:p: hash pin id -> generation
-- held:<item>: set of the pins for whose end the garbage item of a deleted array waits

-- What commit number `generation` of an array has replaced leaves the history: tiles is
-- {ordinal, entry or "", ...}. Pins of generations before it keep what they need, the rest is garbage.
-- Must be called in the order of the generations: the first entry that a pin is offered is its own.
local function retire(p, array, generation, tiles, due)
  local pins, ordinals, kept, garbage = redis.call('HGETALL', p .. 'a:' .. array .. ':p'), {}, {}, {}
  for i = 1, #tiles, 2 do
    ordinals[#ordinals + 1] = tiles[i]
  end
  for i = 1, #pins, 2 do
    if tonumber(pins[i + 1]) < generation then
      local overlay, new = p .. 'pin:' .. pins[i] .. ':o', {}
      local known = values_of(overlay, ordinals)
      for j = 1, #ordinals do
        if not known[j] then
          new[#new + 1], new[#new + 2] = ordinals[j], tiles[2 * j]
        end
        -- A tile that was moved away and back is the same entry again.
        kept[j] = kept[j] or not known[j] or known[j] == tiles[2 * j]
      end
      sliced('HSET', overlay, new)
    end
  end
  for j = 1, #ordinals do
    if not kept[j] and tiles[2 * j] ~= '' then
      garbage[#garbage + 1] = due
      garbage[#garbage + 1] = 'E:' .. array .. ':' .. ordinals[j] .. ':' .. tiles[2 * j]
    end
  end
  sliced('ZADD', p .. 'garbage', garbage)
end

-- Ends a pin; what no other pin needs becomes garbage.
local function end_pin(p, pin, due)
  local key = p .. 'pin:' .. pin
  local found = redis.call('HMGET', key, 'array', 'held')
  local array, held = found[1], found[2]
  if held then
    redis.call('SREM', p .. 'held:' .. held, pin)
    if redis.call('EXISTS', p .. 'held:' .. held) == 0 then
      redis.call('ZADD', p .. 'garbage', due, held)
    end
  elseif array then
    redis.call('HDEL', p .. 'a:' .. array .. ':p', pin)
    local others = redis.call('HKEYS', p .. 'a:' .. array .. ':p')
    local overlay, ordinals, kept, garbage = redis.call('HGETALL', key .. ':o'), {}, {}, {}
    for i = 1, #overlay, 2 do
      ordinals[#ordinals + 1] = overlay[i]
    end
    for _, other in ipairs(others) do
      local entries = values_of(p .. 'pin:' .. other .. ':o', ordinals)
      for j = 1, #ordinals do
        kept[j] = kept[j] or entries[j] == overlay[2 * j]
      end
    end
    for j = 1, #ordinals do
      if not kept[j] and overlay[2 * j] ~= '' then
        garbage[#garbage + 1] = due
        garbage[#garbage + 1] = 'E:' .. array .. ':' .. ordinals[j] .. ':' .. overlay[2 * j]
      end
    end
    sliced('ZADD', p .. 'garbage', garbage)
  end
  redis.call('UNLINK', key, key .. ':o')
  redis.call('ZREM', p .. 'pins', pin)
end

-- Names a whole array as garbage, from the end of its last pin on. Versions up to the newest token
-- so far are meant, which is returned: the same id may be used again for a new array, whose versions
-- are newer.
local function array_garbage(p, array, due)
  local token, pins = redis.call('GET', p .. 'tokens') or '0', p .. 'a:' .. array .. ':p'
  local item = 'A:' .. array .. ':' .. token
  local waiting = redis.call('HKEYS', pins)
  for _, pin in ipairs(waiting) do
    redis.call('HSET', p .. 'pin:' .. pin, 'held', item)
    redis.call('UNLINK', p .. 'pin:' .. pin .. ':o')
    redis.call('SADD', p .. 'held:' .. item, pin)
  end
  redis.call('UNLINK', pins)
  if #waiting == 0 then
    redis.call('ZADD', p .. 'garbage', due, item)
  end
  return token
end

-- unpin: ARGV pin. Returns {"ok", 1 | 0}: whether it was there.
repeatable('unpin', function(p, args)
  local there = redis.call('ZSCORE', p .. 'pins', args[1])
  end_pin(p, args[1], due_ms(p, now_ms()))
  return {'ok', there and 1 or 0}
end, {'allow-oom'})

-- renew_pin: ARGV pin, time to live in ms. Returns {"ok", 1 | 0}: 0 when it has ended.
repeatable('renew_pin', function(p, args)
  if not redis.call('ZSCORE', p .. 'pins', args[1]) then
    return {'ok', 0}
  end
  redis.call('ZADD', p .. 'pins', now_ms() + tonumber(args[2]), args[1])
  return {'ok', 1}
end, {'allow-oom'})

-- expire_pins: ARGV limit. Returns {"ok", number of pins that were ended}
repeatable('expire_pins', function(p, args)
  local now = now_ms()
  local expired = redis.call('ZRANGEBYSCORE', p .. 'pins', '-inf', now, 'LIMIT', 0, args[1])
  for _, pin in ipairs(expired) do
    end_pin(p, pin, due_ms(p, now))
  end
  return {'ok', #expired}
end, {'allow-oom'})

-- pins: no ARGV. Returns {"ok", then (pin, remaining ms, array id, generation, held item or nil)...};
--   what has expired and was not swept has 0 ms.
reading('pins', function(p)
  local now, reply = now_ms(), {'ok'}
  local pins = redis.call('ZRANGE', p .. 'pins', 0, -1, 'WITHSCORES')
  for i = 1, #pins, 2 do
    local found = redis.call('HMGET', p .. 'pin:' .. pins[i], 'array', 'generation', 'held')
    reply[#reply + 1] = {pins[i], math.max(tonumber(pins[i + 1]) - now, 0), found[1] or '',
      tonumber(found[2] or 0), found[3]}
  end
  return reply
end)
