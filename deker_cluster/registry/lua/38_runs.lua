-- Runs of ordinals: ascending {first, last, first, last, ...}. Neighbours make one run.

-- Those of ordinals in any order.
local function runs_of(ordinals)
  local numbers, sorted = {}, true
  for i = 1, #ordinals do
    numbers[i] = tonumber(ordinals[i])
    sorted = sorted and (i == 1 or numbers[i - 1] < numbers[i])
  end
  if not sorted then
    table.sort(numbers)
  end
  local runs = {}
  for i = 1, #numbers do
    if #runs > 0 and numbers[i] <= runs[#runs] + 1 then
      runs[#runs] = numbers[i]
    else
      runs[#runs + 1], runs[#runs + 2] = numbers[i], numbers[i]
    end
  end
  return runs
end

local function pack_runs(runs)
  local texts = {}
  for i = 1, #runs, 2 do
    texts[#texts + 1] = digits(runs[i]) .. '-' .. digits(runs[i + 1])
  end
  return table.concat(texts, ',')
end

local function unpack_runs(text)
  local runs = {}
  for first, last in string.gmatch(text, '(%d+)-(%d+)') do
    runs[#runs + 1], runs[#runs + 2] = tonumber(first), tonumber(last)
  end
  return runs
end

local function ordinals_of(runs)
  local ordinals = {}
  for i = 1, #runs, 2 do
    for ordinal = runs[i], runs[i + 1] do
      ordinals[#ordinals + 1] = digits(ordinal)
    end
  end
  return ordinals
end

-- First ordinal that is in both, nil when there is none.
local function common_ordinal(some, others)
  local i, j = 1, 1
  while i < #some and j < #others do
    local first = math.max(some[i], others[j])
    if first <= math.min(some[i + 1], others[j + 1]) then
      return first
    end
    if some[i + 1] < others[j + 1] then
      i = i + 2
    else
      j = j + 2
    end
  end
end

-- What is in either.
local function joined_runs(some, others)
  local runs, i, j = {}, 1, 1
  while some[i] or others[j] do
    local first, last
    if not others[j] or some[i] and some[i] <= others[j] then
      first, last, i = some[i], some[i + 1], i + 2
    else
      first, last, j = others[j], others[j + 1], j + 2
    end
    if #runs > 0 and first <= runs[#runs] + 1 then
      runs[#runs] = math.max(runs[#runs], last)
    else
      runs[#runs + 1], runs[#runs + 2] = first, last
    end
  end
  return runs
end

-- Whether all of others is in some.
local function covers(some, others)
  local i = 1
  for j = 1, #others, 2 do
    while some[i] and some[i + 1] < others[j] do
      i = i + 2
    end
    if not some[i] or some[i] > others[j] or some[i + 1] < others[j + 1] then
      return false
    end
  end
  return true
end
