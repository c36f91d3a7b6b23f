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
  for _, bucket in ipairs(buckets) do reply[#reply + 1] = bucket.balance end
  return reply
end

local function worseOf(worst, kind, index, used, wait)
  if worst and not isLonger(wait, worst[5]) then return worst end
  return { 'NO', kind, index, used, wait }
end

-- Answers a refusal, a failure, or nil when every check passes.
local function refuse(buckets, slots, budgets)
  local worst
  for index, slot in ipairs(slots) do
    local live = countLive(slot.key)
    local failure = failureOf(live)
    if failure then return failure end
    slot.live = live
    if live >= slot.limit then worst = worseOf(worst, 'slot', index, live, slotWait(slot, live)) end
  end
  for index, bucket in ipairs(buckets) do
    if bucket.capacity > 0 and bucket.cost > bucket.capacity then
      mendTimes(buckets)
      return { 'NEVER', index }
    end
    local wait = bucketWait(bucket)
    if wait ~= 0 then worst = worseOf(worst, 'bucket', index, 0, wait) end
  end
  for index, budget in ipairs(budgets) do
    local wait = budgetWait(budget)
    if wait then worst = worseOf(worst, 'budget', index, budget.spent + budget.held, wait) end
  end
  if not worst then return nil end
  mendTimes(buckets)
  return withBalances(worst, buckets)
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

local function admit(id, requestsCost, tokensCost, planText, packed, budgetCost, budgetPlan, stamp)
  local requestKey = recordPrefix .. id
  local state, failure = readState(requestKey)
  if failure then return failure end
  if state == finishedState then return { 'FINISHED' } end
  if state == '' then
    local stale = stamp ~= '' and checkAuth(stamp)
    if stale then return stale end
    if gate ~= '' then return { gate } end
  end
  local plan = planOf(planText)
  local buckets = {}
  addBuckets(buckets, plan.requests, requestsRule, tonumber(requestsCost) * 1000)
  addBuckets(buckets, plan.tokens, tokensRule, tonumber(tokensCost) * 1000)
  local budgets = budgetsOf(budgetPlan, tonumber(budgetCost))
  failure = readBuckets(buckets) or readBudgets(budgets)
  if failure then return failure end
  if state == openState then
    mendTimes(buckets)
    return withBudgets(withBalances({ 'OK' }, buckets), budgets)
  end
  local slots = slotsOf(plan.slots)
  local refusal = needSeed(budgets)
  if refusal then mendTimes(buckets) end
  refusal = refusal or refuse(buckets, slots, budgets)
  if refusal then return refusal end

  charge(buckets)
  hold(id, slots)
  -- The refusal above has counted them all.
  for _, slot in ipairs(slots) do liveBySet[slot.key] = slot.live + 1 end
  writeOpen(requestKey, packed, holdBudgets(budgets))
  return withBudgets(withBalances({ 'OK' }, buckets), budgets)
end

local function inspect(planText, budgetPlan)
  local plan = planOf(planText)
  local buckets = {}
  addBuckets(buckets, plan.requests, requestsRule, 0)
  addBuckets(buckets, plan.tokens, tokensRule, 0)
  local budgets = budgetsOf(budgetPlan, 0)
  local failure = readBuckets(buckets) or readBudgets(budgets)
  if failure then return failure end
  mendTimes(buckets)
  local reply = withBalances({ 'OK' }, buckets)
  for _, slot in ipairs(slotsOf(plan.slots)) do
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
