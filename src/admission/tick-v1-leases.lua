-- What keeps leases alive, brings lost ones back, and settles those whose owner is gone.

local function markDispatched(id)
  local requestKey = recordPrefix .. id
  local state, failure = readState(requestKey)
  if failure then return failure end
  if state == openState then call('SETRANGE', requestKey, dispatchedAt, '1') end
  return { 'OK' }
end

local function renewOpen(id, request, progress, dispatched)
  local slots = slotsOf(planOf(request.plan).slots)
  local failure = firstFailure(slots, id)
  if failure then return failure end
  hold(id, slots)
  local requestKey = recordPrefix .. id
  call('SETRANGE', requestKey, progressAt, packProgress(progress))
  if dispatched == '1' then call('SETRANGE', requestKey, dispatchedAt, '1') end
  return { 'OK' }
end

local function renew(id, progress, dispatched)
  local request, failure = readRequest(recordPrefix .. id)
  if failure then return failure end
  if not request then return { 'LOST' } end
  if request.isFinished then return { 'REAPED' } end
  return renewOpen(id, request, progress, dispatched)
end

-- The owner lives though its record is gone or was reaped: the lease comes back, even above the limit. What a lost
-- record had debited is debited again; what a reaped one was charged stays as it is until the settlement.
local function reassert(id, requestsCost, tokensCost, planText, packed, budgetCost, chargePlan, progress, dispatched)
  local request, failure = readRequest(recordPrefix .. id)
  if failure then return failure end
  if request and not request.isFinished then return renewOpen(id, request, progress, dispatched) end
  -- Settled by the owner itself, in this call or before.
  if request and not request.isReaped then return { 'FINISHED' } end
  local plan = planOf(planText)
  local slots = slotsOf(plan.slots)
  local buckets, charges = {}, {}
  if not request then
    addBuckets(buckets, plan.requests, requestsRule, tonumber(requestsCost) * 1000)
    addBuckets(buckets, plan.tokens, tokensRule, tonumber(tokensCost) * 1000)
    charges = parseCharges(chargePlan)
  end
  failure = readBuckets(buckets) or readCharges(charges) or firstFailure(slots, id)
  if failure then return failure end

  charge(buckets)
  hold(id, slots)
  writeOpenAgain(recordPrefix .. id, packed, {
    dispatched = dispatched,
    progress = progress,
    requests = request and request.requests or requestsCost,
    tokens = request and request.tokens or tokensCost,
    charges = request and request.charges or applyCharges(charges, tonumber(budgetCost), 0),
  })
  return { 'OK' }
end

-- The expired leases: id, dispatched, progress and record of each. Work for the operation below.
local function listExpired(limit)
  local reply = { 'OK' }
  writeSet(openKey)
  for _, id in ipairs(call('ZRANGEBYSCORE', openKey, '-inf', whole(nowMs), 'LIMIT', 0, tonumber(limit))) do
    local request, failure = readRequest(recordPrefix .. id)
    if failure then
      -- Unreadable, or of another layout: looked at again later, so that it cannot keep the others waiting.
      addLease(openKey, id)
    elseif request and not request.isFinished then
      reply[#reply + 1] = id
      reply[#reply + 1] = request.dispatched == '1' and 1 or 0
      reply[#reply + 1] = request.progress
      reply[#reply + 1] = request.record
    else
      removeLease(openKey, id)
    end
  end
  return reply
end

-- Settles one request whose lease has expired, with the row that the reaper made from what it was told; should more be
-- known by now, nothing is done and the next round makes a better row.
local function reap(id, estimate, dispatched, progress, cost, record)
  local request, failure = readRequest(recordPrefix .. id)
  if failure then return failure end
  if request and request.isFinished and request.rank <= 1 then return { 'DUP' } end
  writeSet(openKey)
  local ends = call('ZSCORE', openKey, id)
  if not request or request.isFinished or (ends and tonumber(ends) > nowMs) then return { 'ALIVE' } end
  if request.dispatched ~= dispatched or request.progress ~= tonumber(progress) then return { 'CHANGED' } end
  local isDispatched = dispatched == '1'
  return finish(id, request, {
    kind = isDispatched and 'under' or 'void',
    rank = isDispatched and 1 or 0,
    requests = 1,
    tokens = max(tonumber(progress), tonumber(estimate)),
    cost = tonumber(cost),
    record = record,
    isReaped = true,
  })
end
