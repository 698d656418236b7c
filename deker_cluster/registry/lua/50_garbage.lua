-- Lists of what is held and of what may be deleted.

-- garbage: ARGV limit, how many to pass over. Returns {"ok", item, item, ...}: those that are due,
--   the oldest first.
reading('garbage', function(p, args)
  local items = redis.call('ZRANGEBYSCORE', p .. 'garbage', '-inf', now_ms(),
    'LIMIT', args[2] or 0, args[1])
  table.insert(items, 1, 'ok')
  return items
end)

-- forget: ARGV operation, items... Returns {"ok", how many were there}
changing('forget', function(p, args)
  table.remove(args, 1)
  return {'ok', sliced('ZREM', p .. 'garbage', args)}
end, {'allow-oom'})

-- expire_leases: ARGV operation, limit. Returns {"ok", number of transactions that were ended}
changing('expire_leases', function(p, args)
  local now = now_ms()
  local tokens = redis.call('ZRANGEBYSCORE', p .. 'leases', '-inf', now, 'LIMIT', 0, args[2])
  for _, token in ipairs(tokens) do
    end_transaction(p, token, due_ms(p, now), {})
  end
  return {'ok', #tokens}, #tokens > 0
end)

-- locks: no ARGV. Returns {"ok", token, remaining ms, {tx hash}, token, ...}; expired ones have 0.
reading('locks', function(p)
  local now, reply = now_ms(), {'ok'}
  local leases = redis.call('ZRANGE', p .. 'leases', 0, -1, 'WITHSCORES')
  for i = 1, #leases, 2 do
    reply[#reply + 1] = leases[i]
    reply[#reply + 1] = math.max(tonumber(leases[i + 1]) - now, 0)
    reply[#reply + 1] = redis.call('HGETALL', p .. 'tx:' .. leases[i])
  end
  return reply
end)
