-- Token buckets. The arithmetic is that of bucket.ts: whole milli-units, whole microseconds. The buckets of a scope share
-- one value, `balance:at` of requests and then of tokens, each empty where nobody has taken anything yet.

-- The number is the version of what the value means.
local bucketsKey = base .. 'b:2:'
local bucketsLayout = '^(%-?%d*):(%d*):(%-?%d*):(%d*)$'

local function parseBuckets(value)
  local requests, requestsAt, tokens, tokensAt = match(value, bucketsLayout)
  return requests and {
    requests = tonumber(requests),
    requestsAt = tonumber(requestsAt),
    tokens = tonumber(tokens),
    tokensAt = tonumber(tokensAt),
  }
end

local function packBuckets(cell)
  local requests = cell.requests and format('%d:%d:', cell.requests, cell.requestsAt) or '::'
  return requests .. (cell.tokens and format('%d:%d', cell.tokens, cell.tokensAt) or ':')
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
  local failure = load(buckets, parseBuckets)
  if failure then return failure end
  for index = 1, #buckets do
    local bucket = buckets[index]
    local cell = cells[bucket.key]
    refill(bucket, cell[bucket.rule] or bucket.capacity, cell[bucket.ruleAt] or now)
  end
  return nil
end

local function writeBucket(bucket, balance, at)
  local cell = cells[bucket.key]
  cell[bucket.rule], cell[bucket.ruleAt] = balance, at
  -- A bucket that the limits of this request do not name must not be forgotten with those that they do.
  cell.hasGuest = cell.hasGuest or (bucket.isAlone and cell[bucket.otherRule] ~= nil)
  store(bucket.key, cell, max(cell.memoryMs or 0, bucket.memoryMs))
end

local function priceBuckets(buckets, cost)
  for index = 1, #buckets do buckets[index].cost = cost end
end

-- Takes the cost of each bucket, which may be negative, within the bounds of credit and debt.
local function charge(buckets)
  for index = 1, #buckets do
    local bucket = buckets[index]
    local balance = min(bucket.capacity, bucket.balance - bucket.cost)
    bucket.balance = max(-bucket.capacity, balance)
    writeBucket(bucket, bucket.balance, bucket.at)
  end
end

-- The one thing a refusal may write: without it a clock that went back would refuse for as long as it went.
local function mendTimes(buckets)
  for index = 1, #buckets do
    local bucket = buckets[index]
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
