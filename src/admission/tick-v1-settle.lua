-- SETTLE: slot, refund and row are one atom.

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
    redis.call('HDEL', requestKey, 'rec', 'rp')
    redis.call('HSET', requestKey, 'st', 'fin', 'rank', rank, 'hr', whole(rest.requests), 'ht', whole(rest.tokens),
      'pr', rest.requestsPlan, 'pt', rest.tokensPlan, 'pm', rest.charges)
    if rest.isReaped then redis.call('HSET', requestKey, 'rp', '1') end
  end
  redis.call('PEXPIRE', requestKey, tombstoneMs)
end

local function firstFailure(slots, id)
  for _, slot in ipairs(slots) do
    if not soundSlots[slot.key] then
      local failure = failureOf(redis.pcall('ZSCORE', slot.key, id))
      if failure then return failure end
      soundSlots[slot.key] = true
    end
  end
  return nil
end

local function finish(id, change)
  local requestKey = base .. 'r:' .. id
  local stored = redis.pcall('HMGET', requestKey, 'st', 'rank', 'hr', 'ht', 'pr', 'pt', 'c', 'pm')
  if stored.err then return { 'ERR', stored.err } end
  local status = stored[1]
  if status == 'fin' and tonumber(stored[2]) >= change.rank then return { 'DUP' } end
  local heldRequests, heldTokens = tonumber(stored[3] or 0), tonumber(stored[4] or 0)
  local requests = amountDue(change.kind, heldRequests, change.requests)
  local tokens = amountDue(change.kind, heldTokens, change.tokens)
  local requestsPlan, tokensPlan = stored[5] or change.requestsPlan, stored[6] or change.tokensPlan
  local buckets = {}
  if requests ~= heldRequests then addBuckets(buckets, requestsPlan, requestsRule, (requests - heldRequests) * 1000) end
  if tokens ~= heldTokens then addBuckets(buckets, tokensPlan, tokensRule, (tokens - heldTokens) * 1000) end
  local chargePlan = stored[8] or (not status and change.charges) or ''
  local charges = chargePlan == '' and {} or parseCharges(chargePlan)
  local slots = status == 'fin' and {} or slotsOf(stored[7] or change.slotPlan)
  local failure = readBuckets(buckets) or readCharges(charges) or firstFailure(slots, id)
  if failure then return failure end

  charge(buckets)
  for _, slot in ipairs(slots) do
    redis.call('ZREM', slot.key, id)
    -- The set may be gone now, and its time to live with it.
    liveBySlot[slot.key], freshSlots[slot.key] = nil, nil
  end
  redis.call('ZREM', openKey, id)
  bury(requestKey, change.rank, {
    requests = requests,
    tokens = tokens,
    requestsPlan = requestsPlan,
    tokensPlan = tokensPlan,
    charges = applyCharges(charges, 0, change.cost),
    isReaped = change.isReaped,
  })
  -- It was never admitted, so it has no row; the tombstone blocks an admission that comes late.
  if not status and change.kind == 'void' then return { 'UNKNOWN' } end
  if streamCap > 0 then
    redis.call('XADD', streamKey, '*', 'id', id, 'rank', change.rank, 'rec', change.record)
  end
  return { 'OK' }
end

local function settle(id, kind, rank, requests, tokens, requestsPlan, tokensPlan, slotPlan, cost, charges, record)
  return finish(id, {
    kind = kind,
    rank = tonumber(rank),
    requests = tonumber(requests),
    tokens = tonumber(tokens),
    requestsPlan = requestsPlan,
    tokensPlan = tokensPlan,
    slotPlan = slotPlan,
    cost = tonumber(cost),
    charges = charges,
    record = record,
  })
end
