-- Finding arrays by their attributes.
--
-- c:<cid>: field "indexes": number of indexed attributes, "" before the first array, none when the
--   collection holds arrays that are in no index
-- c:<cid>:x: hash number of the array (8 bytes, big endian) -> cmsgpack list of its encoded values
-- c:<cid>:x:<n>: zset of the encoded values of attribute n, each followed by the array's number;
--   all scores are 0, so that the bytes are the order. No value is the beginning of another one.
--
-- Conditions come as: attribute, number of ranges, that many (start, stop), attribute, ... Ranges
-- are half-open, ascending and free of overlaps.

local EXAMINED = 2000 -- arrays that one call looks at: others wait meanwhile
local BATCH = 500

-- Lua's own comparison of strings follows the server's locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local left, right = string.byte(a, i), string.byte(b, i)
    if left ~= right then
      return left < right
    end
  end
  return #a < #b
end

-- Reads args[first...] into a list of {attribute =, starts =, stops =, values =}. The last is a set,
-- and there if every range holds a single value.
local function parse_conditions(args, first)
  local conditions, i = {}, first
  while i <= #args do
    local condition = {attribute = args[i], starts = {}, stops = {}, values = {}}
    for range = 1, tonumber(args[i + 1]) do
      local start, stop = args[i + 2 * range], args[i + 2 * range + 1]
      condition.starts[range], condition.stops[range] = start, stop
      if condition.values and stop == start .. '\255' then
        condition.values[start] = true
      else
        condition.values = nil
      end
    end
    i = i + 2 + 2 * #condition.starts
    conditions[#conditions + 1] = condition
  end
  return conditions
end

local function within(condition, value)
  if condition.values then
    return condition.values[value]
  end
  local low, high = 0, #condition.starts
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if before(value, condition.starts[middle]) then
      high = middle - 1
    else
      low = middle
    end
  end
  return low > 0 and before(value, condition.stops[low])
end

local function satisfies(conditions, values)
  for _, condition in ipairs(conditions) do
    if not within(condition, values[condition.attribute + 1]) then
      return false
    end
  end
  return true
end

-- Why a collection cannot be searched by these attributes, as a reply; nil when it can.
local function find_hindrance(key, conditions, ...)
  local found = redis.call('HMGET', key, 'name', 'indexes')
  if not found[1] then
    return {'gone'}
  end
  local attributes = {...}
  for _, condition in ipairs(conditions) do
    attributes[#attributes + 1] = condition.attribute
  end
  for _, attribute in ipairs(attributes) do
    if attribute ~= '' then
      if not found[2] or (found[2] ~= '' and tonumber(attribute) >= tonumber(found[2])) then
        return {'unindexed'}
      end
    end
  end
end

-- Up to size members of one range, behind the cursor. The order of creation, attribute "", has the
-- arrays' numbers as members.
local function batch_of(key, query, range, cursor, size)
  local descending = query.descending
  if query.attribute == '' then
    local place = cursor ~= '' and '(' .. digits(struct.unpack('>I8', cursor))
    local page
    if descending then
      page = redis.call('ZREVRANGEBYSCORE', key .. ':arrays', place or '+inf', '-inf', 'WITHSCORES',
        'LIMIT', 0, size)
    else
      page = redis.call('ZRANGEBYSCORE', key .. ':arrays', place or '-inf', '+inf', 'WITHSCORES',
        'LIMIT', 0, size)
    end
    local members = {}
    for i = 2, #page, 2 do
      members[#members + 1] = struct.pack('>I8', tonumber(page[i]))
    end
    return members
  end
  local start, stop = '[' .. query.starts[range], '(' .. query.stops[range]
  if descending then
    if cursor ~= '' and before(cursor, query.stops[range]) then
      stop = '(' .. cursor
    end
    return redis.call('ZREVRANGEBYLEX', key .. ':x:' .. query.attribute, stop, start, 'LIMIT', 0, size)
  end
  if cursor ~= '' and before(query.starts[range], cursor) then
    start = '(' .. cursor
  end
  return redis.call('ZRANGEBYLEX', key .. ':x:' .. query.attribute, start, stop, 'LIMIT', 0, size)
end

-- Whether a range lies before the cursor, in the direction of the walk.
local function is_done(query, range, cursor)
  if cursor == '' or query.attribute == '' then
    return false
  end
  if query.descending then
    return not before(query.starts[range], cursor)
  end
  return not before(cursor, query.stops[range])
end

-- Those members whose arrays have one certain value of an attribute: one look into its index each.
local function having(key, point, members)
  local wanted, found = {}, {}
  for i, member in ipairs(members) do
    wanted[i] = point.starts[1] .. string.sub(member, -8)
  end
  local scores = redis.call('ZMSCORE', key .. ':x:' .. point.attribute, unpack(wanted))
  for i, member in ipairs(members) do
    if scores[i] then
      found[#found + 1] = member
    end
  end
  return found
end

-- Sorts the conditions of a walk: those along whose ranges it goes, those that want one value, others.
local function divide(query, conditions)
  local points, checks = {}, {}
  query.starts, query.stops = {''}, {'\255'}
  for _, condition in ipairs(conditions) do
    if condition.attribute == query.attribute then
      query.starts, query.stops = condition.starts, condition.stops
    elseif #condition.starts == 1 and condition.values then
      points[#points + 1] = condition
    else
      checks[#checks + 1] = condition
    end
  end
  return points, checks
end

-- Walks along one index and calls take(number, values, member) for arrays that satisfy all
-- conditions, until it has returned true. The values are nil unless they are needed. The first
-- batch has size members, later ones more. Returns the cursor with which to go on, "" at the end.
local function walk(key, query, conditions, cursor, size, take)
  local points, checks = divide(query, conditions)
  local with_values, examined, n = #checks > 0 or query.with_values, 0, #query.starts
  for step = 1, n do
    local range = query.descending and n + 1 - step or step
    local ended = is_done(query, range, cursor)
    while not ended do
      local members = batch_of(key, query, range, cursor, size)
      local last, count = members[#members], #members
      for _, point in ipairs(points) do
        members = #members > 0 and having(key, point, members) or members
      end
      local numbers, rows = {}, nil
      for i, member in ipairs(members) do
        numbers[i] = string.sub(member, -8)
      end
      if with_values and #members > 0 then
        rows = redis.call('HMGET', key .. ':x', unpack(numbers))
      end
      for i, member in ipairs(members) do
        local values = rows and cmsgpack.unpack(rows[i])
        if satisfies(checks, values) and take(numbers[i], values, member) then
          return member
        end
      end
      examined = examined + count + 1
      ended = count < size
      cursor = last or cursor
      if ended then
        -- No member equals the end of a range, so nothing is passed over.
        cursor = query.descending and query.starts[range] or query.stops[range]
      end
      if examined >= EXAMINED and not (ended and step == n) then
        return cursor
      end
      size = math.min(2 * size, BATCH)
    end
  end
  return ''
end

local function append_found(p, key, reply, number)
  local score = digits(struct.unpack('>I8', number))
  local id = redis.call('ZRANGEBYSCORE', key .. ':arrays', score, score)[1]
  if id then
    append_record(p, reply, id)
  end
end

-- find_sizes: ARGV collection id, conditions.
-- Returns {"ok", number of all arrays, number of those that satisfy the first condition, ...}
--   | {"gone"} | {"unindexed"}
reading('find_sizes', function(p, args)
  local key, conditions = p .. 'c:' .. args[1], parse_conditions(args, 2)
  local hindrance = find_hindrance(key, conditions)
  if hindrance then
    return hindrance
  end
  local reply = {'ok', redis.call('ZCARD', key .. ':arrays')}
  for _, condition in ipairs(conditions) do
    local index, size = key .. ':x:' .. condition.attribute, 0
    for range = 1, #condition.starts do
      size = size + redis.call('ZLEXCOUNT', index, '[' .. condition.starts[range],
        '(' .. condition.stops[range])
    end
    reply[#reply + 1] = size
  end
  return reply
end)

-- find: ARGV collection id, attribute that gives the order or "" for that of creation, "1" for
-- descending or "0", cursor or "", limit, conditions.
-- Returns {"ok", cursor or "" at the end, then (id, collection id, meta, generation)...}
--   | {"gone"} | {"unindexed"}. A page may be short, or empty, before the end.
reading('find', function(p, args)
  local key, conditions = p .. 'c:' .. args[1], parse_conditions(args, 6)
  local hindrance = find_hindrance(key, conditions, args[2])
  if hindrance then
    return hindrance
  end
  local reply, left = {'ok', ''}, tonumber(args[5])
  local query = {attribute = args[2], descending = args[3] == '1'}
  reply[2] = walk(key, query, conditions, args[4], math.min(left, BATCH), function(number)
    append_found(p, key, reply, number)
    left = left - 1
    return left == 0
  end)
  return reply
end)

-- find_keys: ARGV collection id, attribute whose index is walked along, attribute that gives the
-- order or "", cursor or "", conditions.
-- Returns {"ok", cursor or "" at the end, keys} | {"gone"} | {"unindexed"}. The keys stand one
-- behind the other, each with its length in 2 bytes before it: the encoded value of the attribute
-- that gives the order, if there is one, and the number of the array in 8 bytes. So they sort in
-- that order.
reading('find_keys', function(p, args)
  local key, conditions, order = p .. 'c:' .. args[1], parse_conditions(args, 5), args[3]
  local hindrance = find_hindrance(key, conditions, args[2], order)
  if hindrance then
    return hindrance
  end
  local keys = {}
  local query = {attribute = args[2], descending = false, with_values = order ~= '' and order ~= args[2]}
  local cursor = walk(key, query, conditions, args[4], BATCH, function(number, values, member)
    local found = number
    if order == args[2] then
      found = member
    elseif order ~= '' then
      found = values[order + 1] .. number
    end
    keys[#keys + 1] = struct.pack('>I2', #found) .. found
  end)
  return {'ok', cursor, table.concat(keys)}
end)

-- find_count: ARGV collection id, attribute whose index is walked along, cursor or "", conditions.
-- Returns {"ok", cursor or "" at the end, number of arrays} | {"gone"} | {"unindexed"}
reading('find_count', function(p, args)
  local key, conditions, found = p .. 'c:' .. args[1], parse_conditions(args, 4), 0
  local hindrance = find_hindrance(key, conditions, args[2])
  if hindrance then
    return hindrance
  end
  local query = {attribute = args[2], descending = false}
  local cursor = walk(key, query, conditions, args[3], BATCH, function()
    found = found + 1
  end)
  return {'ok', cursor, found}
end)

-- find_ids: ARGV collection id, attribute that gives the order or "", array ids...
-- Returns {"ok", keys as of find_keys: of those arrays that there are} | {"gone"} | {"unindexed"}
reading('find_ids', function(p, args)
  local key, order, keys = p .. 'c:' .. args[1], args[2], {}
  local hindrance = find_hindrance(key, {}, order)
  if hindrance then
    return hindrance
  end
  for i = 3, #args do
    local score = redis.call('ZSCORE', key .. ':arrays', args[i])
    if score then
      local number, value = struct.pack('>I8', tonumber(score)), ''
      if order ~= '' then
        value = cmsgpack.unpack(redis.call('HGET', key .. ':x', number))[order + 1]
      end
      keys[#keys + 1] = struct.pack('>I2', #value + 8) .. value .. number
    end
  end
  return {'ok', table.concat(keys)}
end)

-- find_numbers: ARGV collection id, numbers of arrays in 8 bytes each, conditions.
-- Returns {"ok", then (id, collection id, meta, generation)...} | {"gone"} | {"unindexed"}: those
-- that there are and that satisfy the conditions, in the order of the numbers.
reading('find_numbers', function(p, args)
  local key, numbers, conditions = p .. 'c:' .. args[1], args[2], parse_conditions(args, 3)
  local hindrance = find_hindrance(key, conditions)
  if hindrance then
    return hindrance
  end
  local reply = {'ok'}
  for i = 1, #numbers, 8 do
    local number = string.sub(numbers, i, i + 7)
    local row = #conditions > 0 and redis.call('HGET', key .. ':x', number)
    if #conditions == 0 or (row and satisfies(conditions, cmsgpack.unpack(row))) then
      append_found(p, key, reply, number)
    end
  end
  return reply
end)
