-- ADMIT, and what looks at limits without taking anything. Check all, then write all: a refusal consumes nothing.

local function slotWait(slot, live)
  if slot.limit == 0 then return -1 end
  writeSet(slot.key)
  local range = { slot.key, afterNow, '+inf', 'WITHSCORES', 'LIMIT', live - slot.limit, 1 }
  local remaining = tonumber(call('ZRANGEBYSCORE', unpack(range))[2]) - nowMs
  -- A holder that beats may end at any time; one that missed a beat is probably dead until its lease ends.
  if remaining < missedBeatMs then return remaining end
  return 1000
end

local function withBalances(reply, buckets)
  for index = 1, #buckets do reply[#reply + 1] = buckets[index].balance end
  return reply
end

local function worseOf(worst, kind, index, used, wait)
  if worst and not isLonger(wait, worst[5]) then return worst end
  return { 'NO', kind, index, used, wait }
end

-- Answers nil when every check passes; else a refusal or a failure, and whether it is a refusal.
local function refuse(buckets, slots, budgets)
  local worst
  for index = 1, #slots do
    local slot = slots[index]
    local live = countLive(slot.key)
    local failure = failureOf(live)
    if failure then return failure, false end
    slot.live = live
    if live >= slot.limit then worst = worseOf(worst, 'slot', index, live, slotWait(slot, live)) end
  end
  for index = 1, #buckets do
    local bucket = buckets[index]
    if bucket.capacity > 0 and bucket.cost > bucket.capacity then
      return { 'NEVER', index }, true
    end
    local wait = bucketWait(bucket)
    if wait ~= 0 then worst = worseOf(worst, 'bucket', index, 0, wait) end
  end
  for index, budget in ipairs(budgets) do
    local wait = budgetWait(budget)
    if wait then worst = worseOf(worst, 'budget', index, budget.spent + budget.held, wait) end
  end
  if not worst then return nil end
  return withBalances(worst, buckets), true
end

local checkedStamps = {}

-- A stamp is `account key accountVersion keyVersion`. A version that differs, or that nobody has raised yet, sends the
-- caller back to the truth. Answers nil for one that is good.
local function checkAuth(stamp)
  local isGood = checkedStamps[stamp]
  if isGood == nil then
    local account, key, accountVersion, keyVersion = match(stamp, '^(%S+) (%S+) (%S+) (%S+)$')
    local stored = attempt('HMGET', base .. 'av:' .. account, 'a', key)
    if stored.err then return { 'ERR', stored.err } end
    isGood = stored[1] == accountVersion and stored[2] == keyVersion
    checkedStamps[stamp] = isGood
  end
  if isGood then return nil end
  return { 'STALE_AUTH' }
end

-- Why a request that is not known yet must not begin, in the same words; true only when its limits were looked at.
local function whyNot(stamp, plan, budgets)
  local stale = stamp ~= '' and checkAuth(stamp)
  if stale then return stale, false end
  if gate ~= '' then return { gate }, false end
  local failure = readBuckets(plan.buckets) or readBudgets(budgets)
  if failure then return failure, false end
  local unseeded = needSeed(budgets)
  if unseeded then return unseeded, true end
  return refuse(plan.buckets, plan.slots, budgets)
end

local function admit(id, requestsCost, tokensCost, packed, budgetCost, budgetPlan, stamp, numbers)
  local plan = planOfNumbers(numbers)
  local buckets, slots = plan.buckets, plan.slots
  priceBuckets(plan.requests, tonumber(requestsCost) * 1000)
  priceBuckets(plan.tokens, tonumber(tokensCost) * 1000)
  local budgets = budgetsOf(budgetPlan, tonumber(budgetCost))
  local requestKey = recordPrefix .. id
  local refusal, isDecided = whyNot(stamp, plan, budgets)
  if not refusal and beginOpen(requestKey, packed, packCharges(budgets)) then
    charge(buckets)
    hold(id, slots, false)
    -- Those who looked for a refusal have counted them all.
    for index = 1, #slots do liveBySet[slots[index].key] = slots[index].live + 1 end
    holdBudgets(budgets)
    return withBudgets(withBalances({ 'OK' }, buckets), budgets)
  end

  -- What was answered before is answered again, whatever holds by now.
  local state, failure = readState(requestKey)
  if failure then return failure end
  if state == finishedState then return { 'FINISHED' } end
  if state == '' then
    if isDecided then mendTimes(buckets) end
    return refusal
  end
  failure = readBuckets(buckets) or readBudgets(budgets)
  if failure then return failure end
  mendTimes(buckets)
  return withBudgets(withBalances({ 'OK' }, buckets), budgets)
end

local function inspect(budgetPlan, numbers)
  local plan = planOfNumbers(numbers)
  priceBuckets(plan.buckets, 0)
  local budgets = budgetsOf(budgetPlan, 0)
  local failure = readBuckets(plan.buckets) or readBudgets(budgets)
  if failure then return failure end
  mendTimes(plan.buckets)
  local reply = withBalances({ 'OK' }, plan.buckets)
  for _, slot in ipairs(plan.slots) do
    local live = countLive(slot.key)
    failure = failureOf(live)
    if failure then return failure end
    reply[#reply + 1] = live
  end
  return withBudgets(reply, budgets)
end

local function check(stamp)
  return checkAuth(stamp) or { 'OK' }
end

-- Versions are only ever raised: a slow replica must not take a revocation back.
local function raise(account, accountVersion, key, keyVersion)
  local versionsKey = base .. 'av:' .. account
  local stored = attempt('HMGET', versionsKey, 'a', key)
  if stored.err then return { 'ERR', stored.err } end
  if accountVersion ~= '' and tonumber(accountVersion) > tonumber(stored[1] or '-1') then
    call('HSET', versionsKey, 'a', accountVersion)
  end
  if key ~= '' and tonumber(keyVersion) > tonumber(stored[2] or '-1') then
    call('HSET', versionsKey, key, keyVersion)
  end
  checkedStamps = {}
  return { 'OK' }
end
