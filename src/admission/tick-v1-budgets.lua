-- Money. A budget's value is `period:spent:held` in nano-USD; periods are numbered as in budget-period.ts.

local dayMs = 86400000
-- A budget that never resets is forgotten when nobody used it for so long; its rows then say again what it spent.
local totalMemoryMs = 400 * dayMs
-- Sums beyond this would no longer be exact.
local largestSum = 9e15
local budgetKind = 'm:%s:1:%s'

-- Months since year 0 of the Gregorian calendar. The year is taken to begin in March, so that the leap day is its last.
local function monthOfDay(day)
  local shifted = day + 719468
  local era = floor(shifted / 146097)
  local dayOfEra = shifted - era * 146097
  local leaps = floor(dayOfEra / 1460) - floor(dayOfEra / 36524) + floor(dayOfEra / 146096)
  local yearOfEra = floor((dayOfEra - leaps) / 365)
  local dayOfYear = dayOfEra - (365 * yearOfEra + floor(yearOfEra / 4) - floor(yearOfEra / 100))
  local monthFromMarch = floor((5 * dayOfYear + 2) / 153)
  return (era * 400 + yearOfEra) * 12 + monthFromMarch + 2
end

local function firstDayOfMonth(month)
  local year, monthFromMarch = floor((month - 2) / 12), (month - 2) % 12
  local leaps = floor(year / 4) - floor(year / 100) + floor(year / 400)
  return year * 365 + leaps + floor((153 * monthFromMarch + 2) / 5) - 719468
end

local function periodNow(kind)
  local day = floor(nowMs / dayMs)
  if kind == 'daily' then return day end
  -- The first day of 1970 was a Thursday; a week begins on Monday.
  if kind == 'weekly' then return floor((day + 3) / 7) end
  if kind == 'monthly' then return monthOfDay(day) end
  return 0
end

-- Nil for a period that never ends.
local function periodEndMs(kind, period)
  if kind == 'daily' then return (period + 1) * dayMs end
  if kind == 'weekly' then return ((period + 1) * 7 - 3) * dayMs end
  if kind == 'monthly' then return firstDayOfMonth(period + 1) * dayMs end
  return nil
end

local function parseBudget(value)
  local period, spent, held = match(value, '^(%d+):(%d+):(%d+)$')
  return period and { period = tonumber(period), spent = tonumber(spent), held = tonumber(held) }
end

local parsedBudgets = {}
local noBudgets = {}

local function budgetsOf(plan, cost)
  if plan == '' then return noBudgets end
  local budgets = parsedBudgets[plan]
  if not budgets then
    budgets = {}
    parsedBudgets[plan] = budgets
    for kind, scope, limit in gmatch(plan, '(%S+) (%S+) (%S+)\n') do
      budgets[#budgets + 1] = {
        key = base .. format(budgetKind, kind, scope),
        kind = kind,
        scope = scope,
        limit = tonumber(limit),
      }
    end
  end
  for _, budget in ipairs(budgets) do budget.cost = cost end
  return budgets
end

-- Fills in each budget's period, spent and held; those that nobody has seeded stay without. A new period starts at
-- zero; a clock that went back does not open an old one again.
local function readBudgets(budgets)
  local failure = load(budgets, parseBudget)
  if failure then return failure end
  for _, budget in ipairs(budgets) do
    local cell = cells[budget.key]
    if cell.isMissing then
      budget.period = nil
    else
      local current = periodNow(budget.kind)
      if cell.period < current then
        budget.period, budget.spent, budget.held = current, 0, 0
      else
        budget.period, budget.spent, budget.held = cell.period, cell.spent, cell.held
      end
    end
  end
  return nil
end

local function needSeed(budgets)
  local reply
  for index, budget in ipairs(budgets) do
    if not budget.period then
      reply = reply or { 'NEED_SEED' }
      reply[#reply + 1] = index
    end
  end
  return reply
end

local function budgetMemoryMs(kind, period)
  local ends = periodEndMs(kind, period)
  return whole(ends and max(dayMs, ends + dayMs - nowMs) or totalMemoryMs)
end

-- The wait until the period ends; nil when the cost still fits.
local function budgetWait(budget)
  if budget.limit > 0 and budget.spent + budget.held + budget.cost <= budget.limit then return nil end
  local ends = periodEndMs(budget.kind, budget.period)
  if not ends or budget.cost > budget.limit or budget.limit == 0 then return -1 end
  return ends - nowMs
end

-- What the settlement of an admission needs to know of its budgets.
local function packCharges(budgets)
  local charges = ''
  for _, budget in ipairs(budgets) do
    charges = charges .. format('%s %s %d %d 0\n', budget.kind, budget.scope, budget.period, budget.cost)
  end
  return charges
end

local function holdBudgets(budgets)
  for _, budget in ipairs(budgets) do
    budget.held = budget.held + budget.cost
    local cell = cells[budget.key]
    cell.period, cell.spent, cell.held = budget.period, budget.spent, budget.held
    store(budget.key, cell, budgetMemoryMs(budget.kind, budget.period))
  end
end

-- What one request holds of each budget and has been charged: `kind scope period held charged`.
local function parseCharges(plan)
  if plan == '' then return noBudgets end
  local charges = {}
  for kind, scope, period, held, charged in gmatch(plan, '(%S+) (%S+) (%S+) (%S+) (%S+)\n') do
    charges[#charges + 1] = {
      key = base .. format(budgetKind, kind, scope),
      kind = kind,
      scope = scope,
      period = tonumber(period),
      held = tonumber(held),
      charged = tonumber(charged),
    }
  end
  return charges
end

local function readCharges(charges)
  return load(charges, parseBudget)
end

-- Moves each charge to what is held and spent now, by its difference alone, if its period is still the budget's; what
-- was charged to an older one is history. Answers the charges, packed.
local function applyCharges(charges, held, charged)
  local packed = ''
  for _, entry in ipairs(charges) do
    local cell = cells[entry.key]
    local isCurrent = not cell.isMissing and cell.period == entry.period
    if isCurrent then
      cell.spent = min(largestSum, max(0, cell.spent + charged - entry.charged))
      cell.held = max(0, cell.held + held - entry.held)
      store(entry.key, cell)
    end
    packed = packed
      .. format('%s %s %d %d %d\n', entry.kind, entry.scope, entry.period, isCurrent and held or 0, charged)
  end
  return packed
end

-- Only the first one who says what was spent is believed, and only of the period that it is now.
local function seed(kind, scope, spent, period)
  local key = base .. format(budgetKind, kind, scope)
  local failure = load({ { key = key } }, parseBudget)
  if failure then return failure end
  local cell = cells[key]
  local current = periodNow(kind)
  if not cell.isMissing or (period ~= '' and tonumber(period) ~= current) then return { 'OK' } end
  cell.period, cell.spent, cell.held = current, tonumber(spent), 0
  store(key, cell, budgetMemoryMs(kind, cell.period))
  return { 'OK' }
end

-- Changes with every row of the shard, and when the shard has lost its data. Nil while rows wait.
local function rowMark()
  if streamCap == 0 then return '' end
  if call('XLEN', streamKey) > 0 then return nil end
  local lastRow = ''
  local stream = attempt('XINFO', 'STREAM', streamKey)
  for index = 1, #stream, 2 do
    if stream[index] == 'last-generated-id' then lastRow = stream[index + 1] end
  end
  return call('GET', base .. 'rid') .. ' ' .. lastRow
end

-- Adds to what was spent, if it is still as it was when `mark` was given; without a mark it only looks. No mark is given
-- while requests hold some of the budget or rows wait: what is spent cannot be compared with the rows then.
local function adjust(kind, scope, mark, delta)
  local budget = { key = base .. format(budgetKind, kind, scope), kind = kind }
  local failure = readBudgets({ budget })
  if failure then return failure end
  if not budget.period then return { 'UNKNOWN', nowMs } end
  local lastRow = budget.held == 0 and rowMark()
  if not lastRow then return { 'IN_USE', nowMs } end
  local current = format('%d %d %s', budget.period, budget.spent, lastRow)
  if mark ~= current then return { 'AT_REST', nowMs, whole(budget.spent), current } end
  local cell = cells[budget.key]
  cell.period, cell.held = budget.period, 0
  cell.spent = min(largestSum, max(0, budget.spent + tonumber(delta)))
  store(budget.key, cell, budgetMemoryMs(kind, cell.period))
  return { 'ADJUSTED' }
end

local function withBudgets(reply, budgets)
  for _, budget in ipairs(budgets) do
    reply[#reply + 1] = budget.period or -1
    reply[#reply + 1] = budget.spent or 0
    reply[#reply + 1] = budget.held or 0
  end
  return reply
end
