-- What all functions of the library share. The loader puts the "#!lua" line and VERSION above.
--
-- Every function is called with exactly one key, "deker:{<cluster>}:cluster". All other keys are
-- made from its prefix, so that they share the hash tag and live on one node of a clustered server.
-- Every reply starts with a word: "ok", or what stood in the way. A function checks everything
-- before its first write: the server does not undo what a failing script has written.

local OPERATION_MS = 600000  -- how long the result of an operation is kept: no request is under way longer
local OUTCOME_MS = 3600000   -- that of a commit: somebody may ask for it
local JOURNAL_LENGTH = 200000 -- records that wait for the shards' disks, at most
local DEFAULT_GRACE_S = 60   -- readers may still hold entries that are this old
local SLICE = 4000           -- values per unpack(): Lua's C stack ends at 8000. Even: HSET takes pairs.

local function prefix_of(keys)
  return (string.gsub(keys[1], 'cluster$', ''))
end

-- tostring() turns 1e15 and above into powers of ten.
local function digits(number)
  return string.format('%.0f', number)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- When something that is garbage from now on may be deleted, in ms.
local function due_ms(p, now)
  local grace = redis.call('HGET', p .. 'cluster', 's:garbage_grace_s')
  return now + math.floor((tonumber(grace or '') or DEFAULT_GRACE_S) * 1000)
end

-- One command over a list of any length; returns the sum of its replies.
local function sliced(command, key, list)
  local sum = 0
  for first = 1, #list, SLICE do
    local last = math.min(first + SLICE - 1, #list)
    sum = sum + redis.call(command, key, unpack(list, first, last))
  end
  return sum
end

-- Values of the fields of a hash, false where there is none; the fields are those from start on.
local function values_of(key, fields, start)
  local values, n = {}, #fields
  for first = start or 1, n, SLICE do
    local part = redis.call('HMGET', key, unpack(fields, first, math.min(first + SLICE - 1, n)))
    for i = 1, #part do
      values[#values + 1] = part[i]
    end
  end
  return values
end

-- Generation of an array that exists in a collection that exists; else nil. With the id of a
-- collection, the array must be in that one: an id can be used again, elsewhere.
local function alive(p, array, collection)
  local found = redis.call('HMGET', p .. 'a:' .. array, 'generation', 'cid')
  if found[2] and (collection or '') ~= '' and found[2] ~= collection then
    return
  end
  if found[2] and redis.call('EXISTS', p .. 'c:' .. found[2]) == 1 then
    return tonumber(found[1])
  end
end

-- Appends what a function has changed to the stream "journal", from which it goes to the disks of
-- the shards. Records are numbered without gaps ("journal:seq"); should nobody fetch them for long,
-- the oldest are given up, and whoever comes finds by the numbers that some are missing. Kinds:
--   {"cluster", {field, value, ...}} the hash, whole;  {"shard", {field, value, ...}} set in "shards"
--   {"collection", cid, {field, value, ...}} set in its hash;  {"uncollection", cid}
--   {"array", cid, aid, seq, primary key or "", 1 | 0 keyed, meta, {index value, ...}}
--   {"unarray", aid, newest token};  {"unindex", cid} its arrays have no indexes from now on
--   {"commit", aid, generation, time, token, kept, change number, {ordinal, entry or "", ...}}
--   {"move", aid, {ordinal, entry, new entry, ...}} the same versions on other shards
--   {"trim", aid, kept} history records below generation kept are gone; in a commit 0: all are
-- Of most commits, and of what was made, the tile files tell as well. A record is "untold" when they
-- do not: journal:untold has the number of the newest one that may not be on disk yet. A write that
-- is based on it must not be acknowledged before it: nobody could tell what it was based on.
local UNTOLD = {cluster = true, shard = true, collection = true, uncollection = true, unarray = true}

local function journal(p, record, untold)
  local number = redis.call('INCR', p .. 'journal:seq')
  if untold or UNTOLD[record[1]] then
    redis.call('SET', p .. 'journal:untold', digits(number))
  end
  redis.call('XADD', p .. 'journal', 'MAXLEN', '~', JOURNAL_LENGTH, digits(number) .. '-0',
    'r', cmsgpack.pack(record))
end

local function has_cluster(p)
  return redis.call('EXISTS', p .. 'cluster') == 1
end

local function epoch_of(p)
  return tonumber(redis.call('HGET', p .. 'cluster', 'epoch') or 0)
end

local function reading(name, body)
  redis.register_function{
    function_name = 'deker1_' .. name,
    flags = {'no-writes'},
    callback = function(keys, args)
      return body(prefix_of(keys), args)
    end,
  }
end

-- ARGV[1] of every changing function is the id of the operation. A request that arrives twice,
-- because its first reply was lost, gets the stored reply and changes nothing. Refusals that
-- changed nothing are not stored: the body returns false as its second value.
local function changing(name, body, flags, keep_ms)
  redis.register_function{
    function_name = 'deker1_' .. name,
    flags = flags or {},
    callback = function(keys, args)
      local p = prefix_of(keys)
      local operation = p .. 'op:' .. args[1]
      local stored = redis.call('GET', operation)
      if stored then
        return cmsgpack.unpack(stored)
      end
      local reply, changed = body(p, args)
      if changed ~= false then
        redis.call('SET', operation, cmsgpack.pack(reply), 'PX', keep_ms or OPERATION_MS)
      end
      return reply
    end,
  }
end

-- For changes that may take place twice without harm: their results are not stored.
local function repeatable(name, body, flags)
  redis.register_function{
    function_name = 'deker1_' .. name,
    flags = flags or {},
    callback = function(keys, args)
      return body(prefix_of(keys), args)
    end,
  }
end

-- version: KEYS and ARGV are ignored. Returns the version of this library.
redis.register_function{
  function_name = 'deker1_version',
  flags = {'no-writes'},
  callback = function()
    return VERSION
  end,
}

-- oldest_client: KEYS and ARGV are ignored. Returns the oldest version of a client, by the library
-- that it brings, that this library serves.
redis.register_function{
  function_name = 'deker1_oldest_client',
  flags = {'no-writes'},
  callback = function()
    return OLDEST_CLIENT
  end,
}

-- outcome: ARGV operation. Returns the reply stored for a changing operation, or {"void"}.
-- An operation that is unknown is made void: should its request still be under way, it will find
-- this mark and change nothing. So the answer is final.
changing('outcome', function()
  return {'void'}
end, {}, OUTCOME_MS)
