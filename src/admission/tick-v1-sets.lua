-- The sets of leases: one for each concurrency scope, and the reaper's work list. What a call adds and removes is written
-- once for each set, when somebody needs to read it or when all operations are done.

local leaseEnds = whole(nowMs + leaseMs)
local afterNow = '(' .. whole(nowMs)
local setMemoryMs = whole(2 * leaseMs)

local additions, removals, touchedSets = {}, {}, {}

-- What this call knows of the sets: how many leases live, and which are sets at all.
local liveBySet, soundSets = {}, {}

local slotsOf = onceEach(function(text)
  local slots = {}
  for scope, limit in gmatch(text, '(%S+) (%d+)\n') do
    slots[#slots + 1] = { key = base .. 'c:' .. scope, limit = tonumber(limit) }
  end
  return slots
end)

local function writeSet(key)
  local removed, added = removals[key], additions[key]
  removals[key], additions[key] = nil, nil
  if removed then call(unpack(removed)) end
  if not added then return end
  call(unpack(added))
  if key ~= openKey then call('PEXPIRE', key, setMemoryMs) end
end

local function writeSets()
  for _, key in ipairs(touchedSets) do writeSet(key) end
end

local function changesOf(changes, command, key)
  local words = changes[key]
  if words then return words end
  words = { command, key }
  changes[key] = words
  touchedSets[#touchedSets + 1] = key
  return words
end

local function addLease(key, id)
  local words = changesOf(additions, 'ZADD', key)
  words[#words + 1] = leaseEnds
  words[#words + 1] = id
end

local function removeLease(key, id)
  -- Removals are written first.
  if additions[key] then writeSet(key) end
  local words = changesOf(removals, 'ZREM', key)
  words[#words + 1] = id
end

-- Grants or extends the lease in every scope, and in the work list.
local function hold(id, slots)
  for _, slot in ipairs(slots) do
    addLease(slot.key, id)
    liveBySet[slot.key] = nil
  end
  addLease(openKey, id)
end

local function letGo(id, slots)
  for _, slot in ipairs(slots) do
    removeLease(slot.key, id)
    liveBySet[slot.key] = nil
  end
  removeLease(openKey, id)
end

local function countLive(key)
  local live = liveBySet[key]
  if live then return live end
  writeSet(key)
  live = attempt('ZCOUNT', key, afterNow, '+inf')
  if not failureOf(live) then
    liveBySet[key] = live
    soundSets[key] = true
  end
  return live
end

-- Of phase one: what these sets are will be written only later.
local function firstFailure(slots, id)
  for _, slot in ipairs(slots) do
    if not soundSets[slot.key] then
      local failure = failureOf(attempt('ZSCORE', slot.key, id))
      if failure then return failure end
      soundSets[slot.key] = true
    end
  end
  return nil
end
