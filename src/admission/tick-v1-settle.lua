-- SETTLE: slot, refund and row are one atom.

-- What is due of one rule when so much of it is held.
local function amountDue(kind, held, actual)
  if kind == 'void' then return 0 end
  if kind == 'under' then return max(held, actual) end
  return actual
end

local none = {}

-- Those of a rule that costs what it was expected to are not even read.
local function bucketsToChange(plan, requests, tokens)
  priceBuckets(plan.requests, requests * 1000)
  priceBuckets(plan.tokens, tokens * 1000)
  if requests == 0 then return tokens == 0 and none or plan.tokens end
  return tokens == 0 and plan.requests or plan.buckets
end

-- `request` is what is stored of it, or nil.
local function finish(id, request, change)
  if request and request.isFinished and request.rank >= change.rank then return { 'DUP' } end
  local plan = request and request.plan or change.plan
  local heldRequests = request and tonumber(request.requests) or 0
  local heldTokens = request and tonumber(request.tokens) or 0
  local requests = amountDue(change.kind, heldRequests, change.requests)
  local tokens = amountDue(change.kind, heldTokens, change.tokens)
  local buckets = bucketsToChange(plan, requests - heldRequests, tokens - heldTokens)
  local charges = parseCharges(request and request.charges or change.charges)
  local slots = request and request.isFinished and none or plan.slots
  local failure = readBuckets(buckets) or readCharges(charges) or firstFailure(slots, id)
  if failure then return failure end

  charge(buckets)
  letGo(id, slots)
  writeTombstone(recordPrefix .. id, change.rank, {
    requests = requests,
    tokens = tokens,
    charges = applyCharges(charges, 0, change.cost),
    plan = plan,
    isReaped = change.isReaped,
  })
  -- It was never admitted, so it has no row; the tombstone blocks an admission that comes late.
  if not request and change.kind == 'void' then return { 'UNKNOWN' } end
  if streamCap > 0 then call('XADD', streamKey, '*', 'id', id, 'rec', change.record) end
  return { 'OK' }
end

local function settle(id, kind, rank, requests, tokens, cost, charges, record, numbers)
  local plan = planOfNumbers(numbers)
  local isPlanKnown = numbers ~= '' and charges == ''
  local request, failure = (isPlanKnown and readOpenHead or readRequest)(recordPrefix .. id, plan)
  if failure then return failure end
  return finish(id, request, {
    kind = kind,
    rank = tonumber(rank),
    requests = tonumber(requests),
    tokens = tonumber(tokens),
    plan = plan,
    cost = tonumber(cost),
    charges = charges,
    record = record,
  })
end
