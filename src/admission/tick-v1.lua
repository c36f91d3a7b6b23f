-- tick v1: all admission steps that one turn of a replica's event loop has for one shard. Spec: reliability 2.2 to 2.4.
--
-- KEYS[1] is <prefix>{<shard>}:open; every other name is derived inside the same hash tag.
-- ARGV    is gate, leaseMs, missedBeatMs, tombstoneMs, openMs, then operations: a letter and its arguments.
-- Reply   is one array for each operation, in order: a word, then numbers or strings.
--
-- Each operation is all or nothing by itself: it first reads, through pcall, and only then issues writes, which can no
-- longer fail. A poisoned key answers ERR to its own operation and leaves the neighbours alone.
-- The arithmetic is that of bucket.ts: whole milli-units, whole microseconds.

local openKey = KEYS[1]
local base = string.sub(openKey, 1, -5)
local gate = ARGV[1]
local leaseMs, missedBeatMs = tonumber(ARGV[2]), tonumber(ARGV[3])
local tombstoneMs, openMs = ARGV[4], ARGV[5]
-- The number is the version of what a bucket's value means.
local requestsRule, tokensRule = 'b:requests:1:', 'b:tokens:1:'

local now = readClock()
local nowMs = math.floor(now / 1000)

-- A plain tostring would turn large numbers into 1.79e+15.
local function whole(number)
  return string.format('%.0f', number)
end

local function failureOf(reply)
  if type(reply) == 'table' and reply.err then return { 'ERR', reply.err } end
  return nil
end

-- Appends the buckets of one rule. Parsing is the dearest part of a call, so the caller asks only for what it needs.
local function parseBuckets(buckets, plan, rule, costMilli)
  for scope, capacity, milli, micros, memoryMs in string.gmatch(plan, '(%S+) (%S+) (%S+) (%S+) (%S+)\n') do
    buckets[#buckets + 1] = {
      key = base .. rule .. scope,
      capacity = tonumber(capacity),
      cost = costMilli,
      milli = tonumber(milli),
      micros = tonumber(micros),
      memoryMs = memoryMs,
    }
  end
  return buckets
end

local function parseSlots(plan)
  local slots = {}
  for scope, limit in string.gmatch(plan, '(%S+) (%d+)\n') do
    slots[#slots + 1] = { key = base .. 'c:' .. scope, limit = tonumber(limit) }
  end
  return slots
end

local function refill(bucket, balance, at)
  if at > now then
    -- A clock that went back must not stop the refill until it has caught up.
    bucket.staleBalance = balance
    at = now
  end
  local steps = math.floor((now - at) / bucket.micros)
  balance = balance + steps * bucket.milli
  if balance >= bucket.capacity then
    bucket.balance, bucket.at = bucket.capacity, now
  else
    bucket.balance, bucket.at = balance, at + steps * bucket.micros
  end
end

-- Fills in what each bucket holds now; answers the failure, or nil.
local function readBuckets(buckets)
  if #buckets == 0 then return nil end
  local keys = {}
  for index, bucket in ipairs(buckets) do keys[index] = bucket.key end
  local values = redis.pcall('MGET', unpack(keys))
  if values.err then return { 'ERR', values.err } end
  for index, bucket in ipairs(buckets) do
    local value = values[index]
    if value then
      local balance, at = string.match(value, '^(%-?%d+):(%d+)$')
      if not balance then return { 'ERR', 'BADVALUE ' .. bucket.key } end
      refill(bucket, tonumber(balance), tonumber(at))
    else
      -- MGET says nothing about a key of another type, and a poisoned bucket must not count as a full one.
      local kind = redis.call('TYPE', bucket.key).ok
      if kind ~= 'none' then return { 'ERR', 'WRONGTYPE ' .. kind .. ' at ' .. bucket.key } end
      bucket.balance, bucket.at = bucket.capacity, now
    end
  end
  return nil
end

local function writeBucket(bucket, balance, at)
  redis.call('SET', bucket.key, string.format('%.0f:%.0f', balance, at), 'PX', bucket.memoryMs)
end

-- The one thing a refusal may write: without it a clock that went back would refuse for as long as it went.
local function mendTimes(buckets)
  for _, bucket in ipairs(buckets) do
    if bucket.staleBalance then writeBucket(bucket, bucket.staleBalance, now) end
  end
end

local function withBalances(reply, buckets)
  for _, bucket in ipairs(buckets) do reply[#reply + 1] = bucket.balance end
  return reply
end

-- -1 stands for a wait that does not help.
local function isLonger(wait, other)
  return other ~= -1 and (wait == -1 or wait > other)
end

local function slotWait(slot, live)
  if slot.limit == 0 then return -1 end
  local range = { slot.key, '(' .. whole(nowMs), '+inf', 'WITHSCORES', 'LIMIT', live - slot.limit, 1 }
  local remaining = tonumber(redis.call('ZRANGEBYSCORE', unpack(range))[2]) - nowMs
  -- A holder that beats may end at any time; one that missed a beat is probably dead until its lease ends.
  if remaining < missedBeatMs then return remaining end
  return 1000
end

local function bucketWait(bucket)
  if bucket.capacity == 0 then return -1 end
  local missing = bucket.cost - bucket.balance
  if missing <= 0 then return 0 end
  local ready = bucket.at + math.ceil(missing / bucket.milli) * bucket.micros
  return math.ceil((ready - now) / 1000)
end

-- Answers a refusal, a failure, or nil when every check passes.
local function refuse(buckets, slots)
  local worst
  for index, slot in ipairs(slots) do
    local live = redis.pcall('ZCOUNT', slot.key, '(' .. whole(nowMs), '+inf')
    local failure = failureOf(live)
    if failure then return failure end
    if live >= slot.limit then
      local wait = slotWait(slot, live)
      if not worst or isLonger(wait, worst[5]) then worst = { 'NO', 'slot', index, live, wait } end
    end
  end
  for index, bucket in ipairs(buckets) do
    if bucket.capacity > 0 and bucket.cost > bucket.capacity then
      mendTimes(buckets)
      return { 'NEVER', index }
    end
    local wait = bucketWait(bucket)
    if wait ~= 0 and (not worst or isLonger(wait, worst[5])) then worst = { 'NO', 'bucket', index, 0, wait } end
  end
  if not worst then return nil end
  mendTimes(buckets)
  return withBalances(worst, buckets)
end

local function admit(id, requestsCost, tokensCost, requestsPlan, tokensPlan, slotPlan, record)
  local requestKey = base .. 'r:' .. id
  local status = redis.pcall('HGET', requestKey, 'st')
  local failure = failureOf(status)
  if failure then return failure end
  if status == 'fin' then return { 'FINISHED' } end
  local buckets = parseBuckets({}, requestsPlan, requestsRule, tonumber(requestsCost) * 1000)
  parseBuckets(buckets, tokensPlan, tokensRule, tonumber(tokensCost) * 1000)
  failure = readBuckets(buckets)
  if failure then return failure end
  if status == 'open' then
    mendTimes(buckets)
    return withBalances({ 'OK' }, buckets)
  end
  if gate ~= '' then return { gate } end
  local slots = parseSlots(slotPlan)
  local refusal = refuse(buckets, slots)
  if refusal then return refusal end

  for _, bucket in ipairs(buckets) do
    bucket.balance = bucket.balance - bucket.cost
    writeBucket(bucket, bucket.balance, bucket.at)
  end
  local ends = whole(nowMs + leaseMs)
  for _, slot in ipairs(slots) do
    redis.call('ZADD', slot.key, ends, id)
    redis.call('PEXPIRE', slot.key, 2 * leaseMs)
  end
  redis.call('ZADD', openKey, ends, id)
  redis.call('HSET', requestKey, 'st', 'open', 'hr', requestsCost, 'ht', tokensCost,
    'pr', requestsPlan, 'pt', tokensPlan, 'c', slotPlan, 'rec', record)
  redis.call('PEXPIRE', requestKey, openMs)
  return withBalances({ 'OK' }, buckets)
end

-- What is due of one rule when so much of it is held.
local function amountDue(kind, held, actual)
  if kind == 'void' then return 0 end
  if kind == 'under' then return math.max(held, actual) end
  return actual
end

local function bury(requestKey, rank, rest)
  if rank == 3 then
    -- Nothing outranks it, so nothing but its rank is needed again.
    redis.call('DEL', requestKey)
    redis.call('HSET', requestKey, 'st', 'fin', 'rank', rank)
  else
    redis.call('HDEL', requestKey, 'rec')
    redis.call('HSET', requestKey, 'st', 'fin', 'rank', rank, 'hr', whole(rest.requests), 'ht', whole(rest.tokens),
      'pr', rest.requestsPlan, 'pt', rest.tokensPlan)
  end
  redis.call('PEXPIRE', requestKey, tombstoneMs)
end

local function finish(id, change)
  local requestKey = base .. 'r:' .. id
  local stored = redis.pcall('HMGET', requestKey, 'st', 'rank', 'hr', 'ht', 'pr', 'pt', 'c')
  if stored.err then return { 'ERR', stored.err } end
  local status = stored[1]
  if status == 'fin' and tonumber(stored[2]) >= change.rank then return { 'DUP' } end
  local heldRequests, heldTokens = tonumber(stored[3] or 0), tonumber(stored[4] or 0)
  local requests = amountDue(change.kind, heldRequests, change.requests)
  local tokens = amountDue(change.kind, heldTokens, change.tokens)
  local requestsPlan, tokensPlan = stored[5] or change.requestsPlan, stored[6] or change.tokensPlan
  local buckets = {}
  if requests ~= heldRequests then parseBuckets(buckets, requestsPlan, requestsRule, (requests - heldRequests) * 1000) end
  if tokens ~= heldTokens then parseBuckets(buckets, tokensPlan, tokensRule, (tokens - heldTokens) * 1000) end
  local failure = readBuckets(buckets)
  if failure then return failure end
  local slots = status == 'fin' and {} or parseSlots(stored[7] or change.slotPlan)
  for _, slot in ipairs(slots) do
    failure = failureOf(redis.pcall('ZSCORE', slot.key, id))
    if failure then return failure end
  end

  for _, bucket in ipairs(buckets) do
    local balance = math.min(bucket.capacity, bucket.balance - bucket.cost)
    writeBucket(bucket, math.max(-bucket.capacity, balance), bucket.at)
  end
  for _, slot in ipairs(slots) do redis.call('ZREM', slot.key, id) end
  redis.call('ZREM', openKey, id)
  bury(requestKey, change.rank, {
    requests = requests,
    tokens = tokens,
    requestsPlan = requestsPlan,
    tokensPlan = tokensPlan,
  })
  if not status and change.kind == 'void' then return { 'UNKNOWN' } end
  return { 'OK' }
end

local function settle(id, kind, rank, requests, tokens, requestsPlan, tokensPlan, slotPlan)
  return finish(id, {
    kind = kind,
    rank = tonumber(rank),
    requests = tonumber(requests),
    tokens = tonumber(tokens),
    requestsPlan = requestsPlan,
    tokensPlan = tokensPlan,
    slotPlan = slotPlan,
  })
end

local function markDispatched(id)
  local requestKey = base .. 'r:' .. id
  local status = redis.pcall('HGET', requestKey, 'st')
  local failure = failureOf(status)
  if failure then return failure end
  if status == 'open' then redis.call('HSET', requestKey, 'disp', '1') end
  return { 'OK' }
end

local function renew(id, progress, dispatched)
  local requestKey = base .. 'r:' .. id
  local stored = redis.pcall('HMGET', requestKey, 'st', 'c')
  if stored.err then return { 'ERR', stored.err } end
  if not stored[1] then return { 'LOST' } end
  if stored[1] == 'fin' then return { 'REAPED' } end
  local slots = parseSlots(stored[2] or '')
  for _, slot in ipairs(slots) do
    local failure = failureOf(redis.pcall('ZSCORE', slot.key, id))
    if failure then return failure end
  end
  local ends = whole(nowMs + leaseMs)
  for _, slot in ipairs(slots) do
    redis.call('ZADD', slot.key, ends, id)
    redis.call('PEXPIRE', slot.key, 2 * leaseMs)
  end
  redis.call('ZADD', openKey, ends, id)
  redis.call('HSET', requestKey, 'prog', progress)
  if dispatched == '1' then redis.call('HSET', requestKey, 'disp', '1') end
  return { 'OK' }
end

-- The ids and records of expired leases: work for the operation below.
local function listExpired(limit)
  local reply = { 'OK' }
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', openKey, '-inf', whole(nowMs), 'LIMIT', 0, tonumber(limit))) do
    local stored = redis.pcall('HMGET', base .. 'r:' .. id, 'st', 'rec')
    if stored.err then
      -- Unreadable: looked at again later, so that it cannot keep the others waiting.
      redis.call('ZADD', openKey, whole(nowMs + leaseMs), id)
    elseif stored[1] == 'open' then
      reply[#reply + 1] = id
      reply[#reply + 1] = stored[2]
    else
      redis.call('ZREM', openKey, id)
    end
  end
  return reply
end

-- Settles one request whose lease has expired. Repeated after a lost reply it says again how it was settled.
local function reap(id, estimate)
  local stored = redis.pcall('HMGET', base .. 'r:' .. id, 'st', 'disp', 'prog', 'rank')
  if stored.err then return { 'ERR', stored.err } end
  local isDispatched, progress = stored[2] == '1', tonumber(stored[3] or '0')
  local outcome = { 'OK', isDispatched and 1 or 0, progress }
  if stored[1] == 'fin' and tonumber(stored[4]) <= 1 then return { 'DUP', outcome[2], progress } end
  local ends = redis.call('ZSCORE', openKey, id)
  if stored[1] ~= 'open' or (ends and tonumber(ends) > nowMs) then return { 'ALIVE' } end
  local finished = finish(id, {
    kind = isDispatched and 'under' or 'void',
    rank = isDispatched and 1 or 0,
    requests = 1,
    tokens = math.max(progress, tonumber(estimate)),
  })
  return finished[1] == 'OK' and outcome or finished
end

local operations = {
  S = { run = settle, arity = 8 },
  M = { run = markDispatched, arity = 1 },
  H = { run = renew, arity = 3 },
  A = { run = admit, arity = 7 },
  L = { run = listExpired, arity = 1 },
  R = { run = reap, arity = 2 },
}

-- Everything writes to this key, so its type is part of phase one of every operation.
local shardFailure = failureOf(redis.pcall('ZCARD', openKey))
local replies = {}
local position = 6
while position <= #ARGV do
  local operation = operations[ARGV[position]]
  if shardFailure then
    replies[#replies + 1] = shardFailure
  else
    local isDone, reply = pcall(operation.run, unpack(ARGV, position + 1, position + operation.arity))
    replies[#replies + 1] = isDone and reply or { 'ERR', type(reply) == 'table' and reply.err or tostring(reply) }
  end
  position = position + operation.arity + 1
end
return replies
