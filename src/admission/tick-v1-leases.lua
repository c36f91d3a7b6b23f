-- What keeps leases alive, brings lost ones back, and settles those whose owner is gone.

local function markDispatched(id)
  addMark(id)
  return { 'OK' }
end

local function renewOpen(id, request, progress, dispatched)
  local slots = request.plan.slots
  local failure = firstFailure(slots, id)
  if failure then return failure end
  local isDispatched = dispatched == '1'
  -- A renewal may be older than the mark that came before it.
  if not isDispatched then isDispatched = select(2, findLease(id)) end
  hold(id, slots, isDispatched)
  call('SETRANGE', recordPrefix .. id, progressAt, packProgress(progress))
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
local function reassert(id, requestsCost, tokensCost, packed, budgetCost, chargePlan, progress, dispatched, numbers)
  local request, failure = readRequest(recordPrefix .. id)
  if failure then return failure end
  if request and not request.isFinished then return renewOpen(id, request, progress, dispatched) end
  -- Settled by the owner itself, in this call or before.
  if request and not request.isReaped then return { 'FINISHED' } end
  local plan = planOfNumbers(numbers)
  local slots = plan.slots
  local buckets, charges = none, none
  if not request then
    buckets, charges = plan.buckets, parseCharges(chargePlan)
    priceBuckets(plan.requests, tonumber(requestsCost) * 1000)
    priceBuckets(plan.tokens, tonumber(tokensCost) * 1000)
  end
  failure = readBuckets(buckets) or readCharges(charges) or firstFailure(slots, id)
  if failure then return failure end

  charge(buckets)
  hold(id, slots, dispatched == '1')
  writeOpenAgain(recordPrefix .. id, packed, {
    progress = progress,
    requests = request and request.requests or requestsCost,
    tokens = request and request.tokens or tokensCost,
    charges = request and request.charges or applyCharges(charges, tonumber(budgetCost), 0),
  })
  return { 'OK' }
end

local function endsEarlier(one, other)
  if one.ends ~= other.ends then return one.ends < other.ends end
  return one.id < other.id
end

-- The expired leases: id, dispatched, progress and record of each. Work for the operation below.
local function listExpired(limit)
  local reply = { 'OK' }
  writeSet(openKey)
  local expired = call('ZRANGEBYSCORE', openKey, '-inf', whole(nowMs) .. '.5', 'WITHSCORES', 'LIMIT', 0, tonumber(limit))
  local leases = {}
  for index = 1, #expired, 2 do
    local score = expired[index + 1]
    leases[#leases + 1] = { id = expired[index], ends = floor(tonumber(score)), isDispatched = isDispatchedBy(score) }
  end
  table.sort(leases, endsEarlier)
  for _, lease in ipairs(leases) do
    local id, isDispatched = lease.id, lease.isDispatched
    local request, failure = readRequest(recordPrefix .. id)
    if failure then
      -- Unreadable, or of another layout: looked at again later, so that it cannot keep the others waiting.
      addLease(openKey, id, isDispatched and dispatchedLeaseEnds or leaseEnds)
    elseif request and not request.isFinished then
      reply[#reply + 1] = id
      reply[#reply + 1] = isDispatched and 1 or 0
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
  local ends, isDispatched = findLease(id)
  if not request or request.isFinished or (ends and ends > nowMs) then return { 'ALIVE' } end
  if isDispatched ~= (dispatched == '1') or request.progress ~= tonumber(progress) then return { 'CHANGED' } end
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
