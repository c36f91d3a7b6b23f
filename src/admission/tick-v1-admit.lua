-- ADMIT, and what looks at limits without taking anything. Check all, then write all: a refusal consumes nothing.

local parsedSlots = {}

local function slotsOf(plan)
  local slots = parsedSlots[plan]
  if slots then return slots end
  slots = {}
  parsedSlots[plan] = slots
  for scope, limit in string.gmatch(plan, '(%S+) (%d+)\n') do
    slots[#slots + 1] = { key = base .. 'c:' .. scope, limit = tonumber(limit) }
  end
  return slots
end

-- What this call knows of lease sets: how many live, which are sets at all, and which got their time to live.
local liveBySlot, soundSlots, freshSlots = {}, {}, {}

local function slotWait(slot, live)
  if slot.limit == 0 then return -1 end
  local range = { slot.key, '(' .. whole(nowMs), '+inf', 'WITHSCORES', 'LIMIT', live - slot.limit, 1 }
  local remaining = tonumber(redis.call('ZRANGEBYSCORE', unpack(range))[2]) - nowMs
  -- A holder that beats may end at any time; one that missed a beat is probably dead until its lease ends.
  if remaining < missedBeatMs then return remaining end
  return 1000
end

local function withBalances(reply, buckets)
  for _, bucket in ipairs(buckets) do reply[#reply + 1] = bucket.balance end
  return reply
end

local function countLive(slot)
  local live = liveBySlot[slot.key]
  if live then return live end
  live = redis.pcall('ZCOUNT', slot.key, '(' .. whole(nowMs), '+inf')
  if not failureOf(live) then
    liveBySlot[slot.key] = live
    soundSlots[slot.key] = true
  end
  return live
end

-- Answers a refusal, a failure, or nil when every check passes.
local function refuse(buckets, slots, budgets)
  local worst
  local function note(kind, index, used, wait)
    if not worst or isLonger(wait, worst[5]) then worst = { 'NO', kind, index, used, wait } end
  end
  for index, slot in ipairs(slots) do
    local live = countLive(slot)
    local failure = failureOf(live)
    if failure then return failure end
    slot.live = live
    if live >= slot.limit then note('slot', index, live, slotWait(slot, live)) end
  end
  for index, bucket in ipairs(buckets) do
    if bucket.capacity > 0 and bucket.cost > bucket.capacity then
      mendTimes(buckets)
      return { 'NEVER', index }
    end
    local wait = bucketWait(bucket)
    if wait ~= 0 then note('bucket', index, 0, wait) end
  end
  for index, budget in ipairs(budgets) do
    local wait = budgetWait(budget)
    if wait then note('budget', index, budget.spent + budget.held, wait) end
  end
  if not worst then return nil end
  mendTimes(buckets)
  return withBalances(worst, buckets)
end

local checkedStamps = {}

-- A version that differs, or that nobody has raised yet, sends the caller back to the truth.
local function checkAuth(account, key, accountVersion, keyVersion)
  local stored = checkedStamps[account .. ' ' .. key]
  if not stored then
    stored = redis.pcall('HMGET', base .. 'av:' .. account, 'a', key)
    if stored.err then return { 'ERR', stored.err } end
    checkedStamps[account .. ' ' .. key] = stored
  end
  if stored[1] == accountVersion and stored[2] == keyVersion then return nil end
  return { 'STALE_AUTH' }
end

-- Grants or extends the lease in every scope, and in the reaper's work list.
local function hold(id, slots)
  local ends = whole(nowMs + leaseMs)
  for _, slot in ipairs(slots) do
    local key = slot.key
    redis.call('ZADD', key, ends, id)
    liveBySlot[key] = nil
    if not freshSlots[key] then redis.call('PEXPIRE', key, 2 * leaseMs) end
    freshSlots[key] = true
  end
  redis.call('ZADD', openKey, ends, id)
end

local function admit(id, requestsCost, tokensCost, requestsPlan, tokensPlan, slotPlan, record,
  budgetCost, budgetPlan, account, key, accountVersion, keyVersion)
  local requestKey = base .. 'r:' .. id
  local status = redis.pcall('HGET', requestKey, 'st')
  local failure = failureOf(status)
  if failure then return failure end
  if status == 'fin' then return { 'FINISHED' } end
  if not status then
    local stale = account ~= '' and checkAuth(account, key, accountVersion, keyVersion)
    if stale then return stale end
    if gate ~= '' then return { gate } end
  end
  local buckets = {}
  addBuckets(buckets, requestsPlan, requestsRule, tonumber(requestsCost) * 1000)
  addBuckets(buckets, tokensPlan, tokensRule, tonumber(tokensCost) * 1000)
  local budgets = budgetsOf(budgetPlan, tonumber(budgetCost))
  failure = readBuckets(buckets) or readBudgets(budgets)
  if failure then return failure end
  if status == 'open' then
    mendTimes(buckets)
    return withBudgets(withBalances({ 'OK' }, buckets), budgets)
  end
  local slots = slotsOf(slotPlan)
  local refusal = needSeed(budgets)
  if refusal then mendTimes(buckets) end
  refusal = refusal or refuse(buckets, slots, budgets)
  if refusal then return refusal end

  charge(buckets)
  hold(id, slots)
  -- The refusal above has counted them all.
  for _, slot in ipairs(slots) do liveBySlot[slot.key] = slot.live + 1 end
  redis.call('HSET', requestKey, 'st', 'open', 'hr', requestsCost, 'ht', tokensCost,
    'pr', requestsPlan, 'pt', tokensPlan, 'c', slotPlan, 'rec', record, 'pm', holdBudgets(budgets))
  redis.call('PEXPIRE', requestKey, openMs)
  return withBudgets(withBalances({ 'OK' }, buckets), budgets)
end

local function inspect(requestsPlan, tokensPlan, slotPlan, budgetPlan)
  local buckets = {}
  addBuckets(buckets, requestsPlan, requestsRule, 0)
  addBuckets(buckets, tokensPlan, tokensRule, 0)
  local budgets = budgetsOf(budgetPlan, 0)
  local failure = readBuckets(buckets) or readBudgets(budgets)
  if failure then return failure end
  mendTimes(buckets)
  local reply = withBalances({ 'OK' }, buckets)
  for _, slot in ipairs(slotsOf(slotPlan)) do
    local live = countLive(slot)
    failure = failureOf(live)
    if failure then return failure end
    reply[#reply + 1] = live
  end
  return withBudgets(reply, budgets)
end

local function check(account, key, accountVersion, keyVersion)
  return checkAuth(account, key, accountVersion, keyVersion) or { 'OK' }
end

-- Versions are only ever raised: a slow replica must not take a revocation back.
local function raise(account, accountVersion, key, keyVersion)
  local versionsKey = base .. 'av:' .. account
  local stored = redis.pcall('HMGET', versionsKey, 'a', key)
  if stored.err then return { 'ERR', stored.err } end
  if accountVersion ~= '' and tonumber(accountVersion) > tonumber(stored[1] or '-1') then
    redis.call('HSET', versionsKey, 'a', accountVersion)
  end
  if key ~= '' and tonumber(keyVersion) > tonumber(stored[2] or '-1') then
    redis.call('HSET', versionsKey, key, keyVersion)
  end
  checkedStamps = {}
  return { 'OK' }
end
