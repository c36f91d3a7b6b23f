-- tick v1: all admission steps that one turn of a replica's event loop has for one shard. Spec: reliability 2.2 to 2.4.
-- One text, made of the files `tick-v1-*.lua` in the order that tick-script.ts names.
--
-- KEYS[1] is <prefix>{<shard>}:open; every other name is derived inside the same hash tag.
-- ARGV    is gate, leaseMs, missedBeatMs, tombstoneMs, openMs, streamCap (0: no stream), a fresh incarnation, how many
--         scopes there are, the scopes, then operations: a letter and its arguments.
-- Reply   is the shard's incarnation, then one array for each operation, in order: a word, then numbers or strings.
--
-- Each operation is all or nothing by itself: it first reads, through pcall, and only then issues writes, which can no
-- longer fail. A poisoned key answers ERR to its own operation and leaves the neighbours alone.

-- These run for every operation: a local is found faster than a field of a table.
local call, attempt = redis.call, redis.pcall
local format, match, gmatch, sub = string.format, string.match, string.gmatch, string.sub
local floor, max, min = math.floor, math.max, math.min

local openKey = KEYS[1]
local base = sub(openKey, 1, -5)
local streamKey = base .. 'u'
local gate = ARGV[1]
local leaseMs, missedBeatMs = tonumber(ARGV[2]), tonumber(ARGV[3])
local tombstoneMs, openMs, streamCap = ARGV[4], ARGV[5], tonumber(ARGV[6])
local scopeCount, scopesBegin = tonumber(ARGV[8]), 8

local now = readClock()
local nowMs = floor(now / 1000)

-- A plain tostring would turn large numbers into 1.79e+15.
local function whole(number)
  return format('%d', number)
end

local function failureOf(reply)
  if type(reply) == 'table' and reply.err then return { 'ERR', reply.err } end
  return nil
end

-- What this call knows of the keys with balances. The operations of a call mostly share an account, so each key is read
-- once, and written once when all operations are done: only its last value counts. `values` holds what was read and
-- nobody has looked at yet, `awaited` the keys that are worth reading together with the first one needed.
local cells, changed, values, awaited = {}, {}, {}, {}

local function fetch(key)
  awaited[#awaited + 1] = key
  local answers = attempt('MGET', unpack(awaited))
  if answers.err then return { 'ERR', answers.err } end
  for index = 1, #awaited do
    local name = awaited[index]
    if values[name] == nil then values[name] = answers[index] end
  end
  awaited = {}
  return nil
end

-- Answers the failure, or nil. MGET says nothing about a key of another type, and a poisoned one must not count as one
-- that nobody has written.
local function loadOne(key, parse)
  local failure = values[key] == nil and fetch(key)
  if failure then return failure end
  local cell = { isMissing = true }
  if values[key] then
    cell = parse(values[key])
    if not cell then return { 'ERR', 'BADVALUE ' .. key } end
  else
    local kind = call('TYPE', key).ok
    if kind ~= 'none' then return { 'ERR', 'WRONGTYPE ' .. kind .. ' at ' .. key } end
  end
  cells[key] = cell
  return nil
end

-- Reads what is not known yet; answers the failure, or nil.
local function load(items, parse)
  for index = 1, #items do
    local key = items[index].key
    local failure = not cells[key] and loadOne(key, parse)
    if failure then return failure end
  end
  return nil
end

-- Without a time to live the key keeps the one it has.
local function store(key, cell, memoryMs)
  cell.isMissing = false
  cell.memoryMs = memoryMs or cell.memoryMs
  if cell.isChanged then return end
  cell.isChanged = true
  changed[#changed + 1] = key
end

-- Splits what is the same in many operations of a call only once.
local function onceEach(parse)
  local known = {}
  return function(text)
    local parsed = known[text]
    if not parsed then
      parsed = parse(text)
      known[text] = parsed
    end
    return parsed
  end
end

-- -1 stands for a wait that does not help.
local function isLonger(wait, other)
  return other ~= -1 and (wait == -1 or wait > other)
end
