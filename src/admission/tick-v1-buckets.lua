-- Token buckets. The arithmetic is that of bucket.ts: whole milli-units, whole microseconds.

-- The number is the version of what a bucket's value means.
local requestsRule, tokensRule = 'b:requests:1:', 'b:tokens:1:'

local function parserOf(rule)
  return onceEach(function(text)
    local buckets = {}
    for scope, capacity, milli, micros, memoryMs in gmatch(text, '(%S+) (%S+) (%S+) (%S+) (%S+)\n') do
      buckets[#buckets + 1] = {
        key = base .. rule .. scope,
        capacity = tonumber(capacity),
        milli = tonumber(milli),
        micros = tonumber(micros),
        memoryMs = memoryMs,
      }
    end
    return buckets
  end)
end

local parsersByRule = { [requestsRule] = parserOf(requestsRule), [tokensRule] = parserOf(tokensRule) }

-- Appends the buckets of one rule, each with what it costs this operation.
local function addBuckets(buckets, plan, rule, costMilli)
  if plan == '' then return end
  for _, bucket in ipairs(parsersByRule[rule](plan)) do
    bucket.cost = costMilli
    buckets[#buckets + 1] = bucket
  end
end

local function parseBucket(value)
  local balance, at = match(value, '^(%-?%d+):(%d+)$')
  return balance and { balance = tonumber(balance), at = tonumber(at) }
end

local function refill(bucket, balance, at)
  bucket.staleBalance = nil
  if at > now then
    -- A clock that went back must not stop the refill until it has caught up.
    bucket.staleBalance = balance
    at = now
  end
  local steps = floor((now - at) / bucket.micros)
  balance = balance + steps * bucket.milli
  if balance >= bucket.capacity then
    bucket.balance, bucket.at = bucket.capacity, now
  else
    bucket.balance, bucket.at = balance, at + steps * bucket.micros
  end
end

-- Fills in what each bucket holds now; answers the failure, or nil.
local function readBuckets(buckets)
  local failure = load(buckets, parseBucket)
  if failure then return failure end
  for _, bucket in ipairs(buckets) do
    local cell = cells[bucket.key]
    if cell.isMissing then
      refill(bucket, bucket.capacity, now)
    else
      refill(bucket, cell.balance, cell.at)
    end
  end
  return nil
end

local function writeBucket(bucket, balance, at)
  local cell = cells[bucket.key]
  cell.balance, cell.at = balance, at
  store(bucket.key, cell, bucket.memoryMs)
end

-- Takes the cost of each bucket, which may be negative, within the bounds of credit and debt.
local function charge(buckets)
  for _, bucket in ipairs(buckets) do
    local balance = min(bucket.capacity, bucket.balance - bucket.cost)
    bucket.balance = max(-bucket.capacity, balance)
    writeBucket(bucket, bucket.balance, bucket.at)
  end
end

-- The one thing a refusal may write: without it a clock that went back would refuse for as long as it went.
local function mendTimes(buckets)
  for _, bucket in ipairs(buckets) do
    if bucket.staleBalance then writeBucket(bucket, bucket.staleBalance, now) end
  end
end

local function bucketWait(bucket)
  if bucket.capacity == 0 then return -1 end
  local missing = bucket.cost - bucket.balance
  if missing <= 0 then return 0 end
  local ready = bucket.at + math.ceil(missing / bucket.milli) * bucket.micros
  return math.ceil((ready - now) / 1000)
end
