-- What keeps leases alive, brings lost ones back, and settles those whose owner is gone.

local function markDispatched(id)
  local requestKey = base .. 'r:' .. id
  local status = redis.pcall('HGET', requestKey, 'st')
  local failure = failureOf(status)
  if failure then return failure end
  if status == 'open' then redis.call('HSET', requestKey, 'disp', '1') end
  return { 'OK' }
end

local function noteProgress(requestKey, progress, dispatched)
  redis.call('HSET', requestKey, 'prog', progress)
  if dispatched == '1' then redis.call('HSET', requestKey, 'disp', '1') end
end

local function renew(id, progress, dispatched)
  local requestKey = base .. 'r:' .. id
  local stored = redis.pcall('HMGET', requestKey, 'st', 'c')
  if stored.err then return { 'ERR', stored.err } end
  if not stored[1] then return { 'LOST' } end
  if stored[1] == 'fin' then return { 'REAPED' } end
  local slots = slotsOf(stored[2] or '')
  local failure = firstFailure(slots, id)
  if failure then return failure end
  hold(id, slots)
  noteProgress(requestKey, progress, dispatched)
  return { 'OK' }
end

-- The owner lives though its record is gone or was reaped: the lease comes back, even above the limit. What a lost
-- record had debited is debited again; what a reaped one was charged stays as it is until the settlement.
local function reassert(id, requestsCost, tokensCost, requestsPlan, tokensPlan, slotPlan, record,
  budgetCost, chargePlan, progress, dispatched)
  local requestKey = base .. 'r:' .. id
  local stored = redis.pcall('HMGET', requestKey, 'st', 'rp')
  if stored.err then return { 'ERR', stored.err } end
  local status = stored[1]
  if status == 'open' then return renew(id, progress, dispatched) end
  -- Settled by the owner itself, in this call or before.
  if status == 'fin' and stored[2] ~= '1' then return { 'FINISHED' } end
  local slots = slotsOf(slotPlan)
  local buckets, charges = {}, {}
  if not status then
    addBuckets(buckets, requestsPlan, requestsRule, tonumber(requestsCost) * 1000)
    addBuckets(buckets, tokensPlan, tokensRule, tonumber(tokensCost) * 1000)
    charges = parseCharges(chargePlan)
  end
  local failure = readBuckets(buckets) or readCharges(charges) or firstFailure(slots, id)
  if failure then return failure end

  charge(buckets)
  hold(id, slots)
  if not status then
    redis.call('HSET', requestKey, 'hr', requestsCost, 'ht', tokensCost, 'pr', requestsPlan, 'pt', tokensPlan,
      'pm', applyCharges(charges, tonumber(budgetCost), 0))
  end
  redis.call('HDEL', requestKey, 'rp')
  redis.call('HSET', requestKey, 'st', 'open', 'c', slotPlan, 'rec', record)
  noteProgress(requestKey, progress, dispatched)
  redis.call('PEXPIRE', requestKey, openMs)
  return { 'OK' }
end

-- The expired leases: id, dispatched, progress and record of each. Work for the operation below.
local function listExpired(limit)
  local reply = { 'OK' }
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', openKey, '-inf', whole(nowMs), 'LIMIT', 0, tonumber(limit))) do
    local stored = redis.pcall('HMGET', base .. 'r:' .. id, 'st', 'disp', 'prog', 'rec')
    if stored.err then
      -- Unreadable: looked at again later, so that it cannot keep the others waiting.
      redis.call('ZADD', openKey, whole(nowMs + leaseMs), id)
    elseif stored[1] == 'open' then
      reply[#reply + 1] = id
      reply[#reply + 1] = stored[2] == '1' and 1 or 0
      reply[#reply + 1] = tonumber(stored[3] or '0')
      reply[#reply + 1] = stored[4]
    else
      redis.call('ZREM', openKey, id)
    end
  end
  return reply
end

-- Settles one request whose lease has expired, with the row that the reaper made from what it was told; should more be
-- known by now, nothing is done and the next round makes a better row.
local function reap(id, estimate, dispatched, progress, cost, record)
  local stored = redis.pcall('HMGET', base .. 'r:' .. id, 'st', 'disp', 'prog', 'rank')
  if stored.err then return { 'ERR', stored.err } end
  if stored[1] == 'fin' and tonumber(stored[4]) <= 1 then return { 'DUP' } end
  local ends = redis.call('ZSCORE', openKey, id)
  if stored[1] ~= 'open' or (ends and tonumber(ends) > nowMs) then return { 'ALIVE' } end
  if (stored[2] or '0') ~= dispatched or (stored[3] or '0') ~= progress then return { 'CHANGED' } end
  local isDispatched = dispatched == '1'
  return finish(id, {
    kind = isDispatched and 'under' or 'void',
    rank = isDispatched and 1 or 0,
    requests = 1,
    tokens = math.max(tonumber(progress), tonumber(estimate)),
    cost = tonumber(cost),
    record = record,
    isReaped = true,
  })
end
