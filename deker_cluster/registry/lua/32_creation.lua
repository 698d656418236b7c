-- Making arrays; what is stored of them stands in 30_catalog.lua.

-- Why an array cannot be made in a collection that exists, as a reply; nil when it can.
local function find_owner(p, collection, id, keyed, primary)
  if alive(p, id) then
    return {'exists', 'id', id}
  end
  local other = keyed and redis.call('HGET', p .. 'c:' .. collection .. ':pk', primary)
  if other then
    return {'exists', 'primary', other}
  end
end

-- Makes an array; its index values are args[first + 1...].
local function put_array(p, collection, id, keyed, primary, meta, size, args, first)
  local key = p .. 'c:' .. collection
  if redis.call('EXISTS', p .. 'a:' .. id) == 1 then
    -- It was in a collection that is deleted but not purged yet.
    delete_array(p, id, due_ms(p, now_ms()))
  end
  local seq = redis.call('HINCRBY', key, 'seq', 1)
  redis.call('HSET', p .. 'a:' .. id, 'cid', collection, 'generation', 0, 'meta', meta)
  redis.call('ZADD', key .. ':arrays', seq, id)
  local values = set_index(key, seq, size, args, first)
  if keyed then
    redis.call('HSET', p .. 'a:' .. id, 'pk', primary)
    redis.call('HSET', key .. ':pk', primary, id)
  end
  journal_array(p, collection, id, seq, size, values)
end

-- create_array: ARGV operation, collection id, array id, "1" or "0", primary key or "", meta, number
-- of index values, that many of them.
-- Returns {"ok"} | {"gone"} | {"exists", "id" or "primary", id of the array that is there}
--   | {"indexes", the right number of index values}
changing('create_array', function(p, args)
  local collection, id, keyed, primary, meta = args[2], args[3], args[4] == '1', args[5], args[6]
  local key = p .. 'c:' .. collection
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}, false
  end
  local owner = find_owner(p, collection, id, keyed, primary)
  if owner then
    return owner, false
  end
  local size, right_size = index_size(key, args, 7)
  if size == false then
    return {'indexes', right_size}, false
  end
  put_array(p, collection, id, keyed, primary, meta, size, args, 7)
  return {'ok'}
end)

-- create_arrays: ARGV operation, collection id, then for each array its id, "1" or "0", primary key
-- or "", meta, number of index values, that many of them. No id and no key may come twice.
-- Makes all of them or none.
-- Returns {"ok"} | {"gone"} | {"exists", "id" or "primary", id of the array that is there, number
--   of the array that cannot be made, from 0} | {"indexes", the right number of index values, number
--   of the array that has another}
changing('create_arrays', function(p, args)
  local collection, starts, i = args[2], {}, 3
  local key = p .. 'c:' .. collection
  if redis.call('EXISTS', key) == 0 then
    return {'gone'}, false
  end
  while i <= #args do
    local owner = find_owner(p, collection, args[i], args[i + 1] == '1', args[i + 2])
    if owner then
      owner[4] = #starts
      return owner, false
    end
    local size, right_size = index_size(key, args, i + 4)
    -- In a collection without arrays the first one says how many are right.
    if size == false or args[i + 4] ~= args[7] then
      return {'indexes', right_size or args[7], #starts}, false
    end
    starts[#starts + 1] = i
    i = i + 5 + tonumber(args[i + 4])
  end
  local size = index_size(key, args, 7)
  for _, start in ipairs(starts) do
    put_array(p, collection, args[start], args[start + 1] == '1', args[start + 2], args[start + 3],
      size, args, start + 4)
  end
  return {'ok'}
end)

-- find_taken: ARGV collection id, then for each array that somebody wants to make its id, "1" or "0",
-- primary key or "".
-- Returns {"ok"} | {"gone"} | {"exists", "id" or "primary", id of the array that is there, number
--   of the array that cannot be made, from 0}
reading('find_taken', function(p, args)
  if redis.call('EXISTS', p .. 'c:' .. args[1]) == 0 then
    return {'gone'}
  end
  for i = 2, #args, 3 do
    local owner = find_owner(p, args[1], args[i], args[i + 1] == '1', args[i + 2])
    if owner then
      owner[4] = (i - 2) / 3
      return owner
    end
  end
  return {'ok'}
end)
