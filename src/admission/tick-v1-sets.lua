-- The sets of leases: one for each concurrency scope, and the reaper's work list. What a call adds and removes is written
-- once for each set, when somebody needs to read it or when all operations are done. In the work list the score of a
-- request that was dispatched has a half on top: the list alone is written to mark it, for all marks of a call at once.

local leaseEnds = whole(nowMs + leaseMs)
local dispatchedLeaseEnds = leaseEnds .. '.5'
local afterNow = '(' .. whole(nowMs)
local setMemoryMs = whole(2 * leaseMs)

local additions, removals, marks, touchedSets = {}, {}, {}, {}

-- What this call knows of the sets: how many leases live, and which are sets at all.
local liveBySet, soundSets = {}, {}

local function isDispatchedBy(score)
  return tonumber(score) % 1 ~= 0
end

local function writeMarks()
  if #marks == 0 then return end
  local scores = call('ZMSCORE', openKey, unpack(marks))
  local words = { 'ZADD', openKey }
  for index = 1, #marks do
    local score = scores[index]
    if score and not isDispatchedBy(score) then
      words[#words + 1] = score .. '.5'
      words[#words + 1] = marks[index]
    end
  end
  marks = {}
  if #words > 2 then call(unpack(words)) end
end

local function writeSet(key)
  local removed, added = removals[key], additions[key]
  removals[key], additions[key] = nil, nil
  if removed then call(unpack(removed)) end
  if added then
    call(unpack(added))
    if key ~= openKey then call('PEXPIRE', key, setMemoryMs) end
  end
  if key == openKey then writeMarks() end
end

local function writeSets()
  for index = 1, #touchedSets do writeSet(touchedSets[index]) end
  writeMarks()
end

local function changesOf(changes, command, key)
  local words = changes[key]
  if words then return words end
  words = { command, key }
  changes[key] = words
  touchedSets[#touchedSets + 1] = key
  return words
end

local function addLease(key, id, ends)
  -- Marks are written last.
  if key == openKey and #marks > 0 then writeSet(key) end
  local words = changesOf(additions, 'ZADD', key)
  words[#words + 1] = ends
  words[#words + 1] = id
end

local function removeLease(key, id)
  -- Removals are written first.
  if additions[key] or (key == openKey and #marks > 0) then writeSet(key) end
  local words = changesOf(removals, 'ZREM', key)
  words[#words + 1] = id
end

local function addMark(id)
  marks[#marks + 1] = id
end

-- Grants or extends the lease in every scope, and in the work list.
local function hold(id, slots, isDispatched)
  for index = 1, #slots do
    local key = slots[index].key
    addLease(key, id, leaseEnds)
    liveBySet[key] = nil
  end
  addLease(openKey, id, isDispatched and dispatchedLeaseEnds or leaseEnds)
end

local function letGo(id, slots)
  for index = 1, #slots do
    local key = slots[index].key
    removeLease(key, id)
    liveBySet[key] = nil
  end
  removeLease(openKey, id)
end

-- The end of the lease, and whether the request was dispatched; nil for one that is not in the work list.
local function findLease(id)
  writeSet(openKey)
  local score = call('ZSCORE', openKey, id)
  if not score then return nil, false end
  return floor(tonumber(score)), isDispatchedBy(score)
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
  for index = 1, #slots do
    local slot = slots[index]
    if not soundSets[slot.key] then
      local failure = failureOf(attempt('ZSCORE', slot.key, id))
      if failure then return failure end
      soundSets[slot.key] = true
    end
  end
  return nil
end
