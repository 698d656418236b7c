-- What has changed: for the users of a collection, and for the disks of the shards.
--
-- c:<cid>:feed: stream of commits with the ids "<number>-0", numbered 1, 2, 3... without gaps; the
--   number of the last one is in c:<cid> changes. Fields: a array id, g generation, t time in ms,
--   c how many tiles, n what the writer says about them. Which lines are gone, the numbers tell.
-- journal: see journal() in 10_base.lua

-- changes: ARGV collection id, number after which to go on, limit.
-- Returns {"ok", number of the newest, then {number, a, g, t, c, n}...} | {"gone"}
reading('changes', function(p, args)
  local key = p .. 'c:' .. args[1]
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}
  end
  local reply = {'ok', tonumber(redis.call('HGET', key, 'changes') or 0)}
  local found = redis.call('XRANGE', key .. ':feed', digits(tonumber(args[2]) + 1) .. '-0', '+',
    'COUNT', args[3])
  for _, line in ipairs(found) do
    local row, fields = {string.match(line[1], '^%d+')}, line[2]
    for i = 2, #fields, 2 do
      row[#row + 1] = fields[i]
    end
    reply[#reply + 1] = row
  end
  return reply
end)

local JOURNAL_PAGE_BYTES = 8388608

-- journal_page: ARGV number after which to go on, limit.
-- Returns {"ok", newest number, oldest that is there or newest + 1, newest token, lowest token that
--   may still commit or newest token + 1, then {number, record}...}
reading('journal_page', function(p, args)
  local last = tonumber(redis.call('GET', p .. 'journal:seq') or 0)
  local first = redis.call('XRANGE', p .. 'journal', '-', '+', 'COUNT', 1)[1]
  local tokens = tonumber(redis.call('GET', p .. 'tokens') or 0)
  local lowest = tokens + 1
  for _, token in ipairs(redis.call('ZRANGE', p .. 'leases', 0, -1)) do
    lowest = math.min(lowest, tonumber(token))
  end
  local reply = {'ok', last, first and tonumber(string.match(first[1], '^%d+')) or last + 1,
    digits(tokens), digits(lowest)}
  local found = redis.call('XRANGE', p .. 'journal', digits(tonumber(args[1]) + 1) .. '-0', '+',
    'COUNT', args[2])
  local left = JOURNAL_PAGE_BYTES
  for _, line in ipairs(found) do
    reply[#reply + 1] = {tonumber(string.match(line[1], '^%d+')), line[2][2]}
    left = left - #line[2][2]
    if left < 0 then
      break
    end
  end
  return reply
end)

-- journal_done: ARGV number. The records up to it are on disk. Returns {"ok", how many were removed}
repeatable('journal_done', function(p, args)
  if tonumber(redis.call('GET', p .. 'journal:untold') or 0) <= tonumber(args[1]) then
    redis.call('DEL', p .. 'journal:untold')
  end
  return {'ok', redis.call('XTRIM', p .. 'journal', 'MINID', digits(tonumber(args[1]) + 1) .. '-0')}
end, {'allow-oom'})

local function raise_counter(key, least)
  if tonumber(redis.call('GET', key) or 0) < tonumber(least) then
    redis.call('SET', key, least)
  end
  return {'ok', redis.call('GET', key) or '0'}
end

-- raise_tokens: ARGV token. No token up to this one is given any more. Returns {"ok", newest token}
repeatable('raise_tokens', function(p, args)
  return raise_counter(p .. 'tokens', args[1])
end)

-- raise_journal: ARGV number. Later records have higher ones. Returns {"ok", newest number}
repeatable('raise_journal', function(p, args)
  return raise_counter(p .. 'journal:seq', args[1])
end)
