-- What limits a request. A scope is a line: its name, how many may run at once, how long its buckets are remembered, and
-- capacity, milli-units and microseconds of the bucket of requests and of that of tokens; `-` stands for no such limit.
-- A plan is the scopes of one request. The scopes of a call stand in it once, and its operations name them by number.

local scopeLayout = '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$'

local function bucketOf(key, rule, otherRule, capacity, milli, micros)
  return {
    key = key,
    rule = rule,
    ruleAt = rule .. 'At',
    otherRule = otherRule,
    capacity = tonumber(capacity),
    milli = tonumber(milli),
    micros = tonumber(micros),
  }
end

local scopeOf = onceEach(function(line)
  local name, limit, memoryMs, requests, requestsMilli, requestsMicros, tokens, tokensMilli, tokensMicros =
    match(line, scopeLayout)
  local key = bucketsKey .. name
  memoryMs = tonumber(memoryMs)
  local scope = { line = line, key = key }
  if limit ~= '-' then scope.slot = { key = base .. 'c:' .. name, limit = tonumber(limit) } end
  if requests ~= '-' then
    scope.requests = bucketOf(key, 'requests', 'tokens', requests, requestsMilli, requestsMicros)
    scope.requests.isAlone, scope.requests.memoryMs = tokens == '-', memoryMs
  end
  if tokens ~= '-' then
    scope.tokens = bucketOf(key, 'tokens', 'requests', tokens, tokensMilli, tokensMicros)
    scope.tokens.isAlone, scope.tokens.memoryMs = requests == '-', memoryMs
  end
  return scope
end)

-- By rule, because a settlement mostly changes the tokens alone and need not look at the rest.
local function planOfLines(lines)
  local plan = { requests = {}, tokens = {}, buckets = {}, slots = {}, lines = lines }
  for index = 1, #lines do
    local scope = scopeOf(lines[index])
    plan.requests[#plan.requests + 1] = scope.requests
    plan.tokens[#plan.tokens + 1] = scope.tokens
    plan.slots[#plan.slots + 1] = scope.slot
    plan.buckets[#plan.buckets + 1] = scope.requests
  end
  for index = 1, #plan.tokens do plan.buckets[#plan.buckets + 1] = plan.tokens[index] end
  return plan
end

local planOfNumbers = onceEach(function(numbers)
  local lines = {}
  for number in gmatch(numbers, '%d+') do lines[#lines + 1] = ARGV[scopesBegin + tonumber(number)] end
  return planOfLines(lines)
end)

local planOfText = onceEach(function(text)
  local lines = {}
  for line in gmatch(text, '([^\n]+)\n') do lines[#lines + 1] = line end
  return planOfLines(lines)
end)

local function textOf(plan)
  if #plan.lines == 0 then return '' end
  return table.concat(plan.lines, '\n') .. '\n'
end

-- With the first balance that is needed, all others of the call are read.
for index = 1, scopeCount do
  local scope = scopeOf(ARGV[scopesBegin + index])
  if scope.requests or scope.tokens then awaited[#awaited + 1] = scope.key end
end
