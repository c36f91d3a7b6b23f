-- What is remembered of a request: one string under `r:<id>`, because a hash with a long field costs the server several
-- times as much. Open it is `O<rank><reaped><progress>`, each of fixed width, then by tabs what is held of requests and
-- tokens, its plan, its record, and what its budgets are charged. Finished it begins with F and its record is
-- empty; of a final one nothing but the rank is left. Another layout takes other letters, so that none is misread.
-- The server's Lua reads every character of a string that it is handed, so long ones are left where they are.

local recordPrefix = base .. 'r:'
local openState, finishedState = 'O', 'F'
local progressAt = '3'
local finalTombstone = finishedState .. '3'
local headLayout = '^([OF])(%d)(%d)(%d+)\t(%d+)\t(%d+)\t'
local openHeadLayout = '^O%d%d%d+\t(%d+)\t(%d+)\t'
local restLayout = '^([^\t]*)\t()[^\t]*\t([^\t]*)$'
-- Longer than any head.
local headEnd = '63'

local function malformed(requestKey)
  return { 'ERR', 'BADVALUE ' .. requestKey }
end

-- Answers '' when there is nothing, or a failure in the second place.
local function readState(requestKey)
  local state = attempt('GETRANGE', requestKey, '0', '0')
  local failure = failureOf(state)
  if failure then return nil, failure end
  if state == '' or state == openState or state == finishedState then return state end
  return nil, malformed(requestKey)
end

local function parseHead(value)
  local state, rank, reaped, progress, requests, tokens, at = match(value, headLayout .. '()')
  return state and {
    isFinished = state == finishedState,
    rank = tonumber(rank),
    isReaped = reaped == '1',
    progress = tonumber(progress),
    requests = requests,
    tokens = tokens,
  }, at
end

-- Nil when there is nothing, or a failure in the second place.
local function readRequest(requestKey)
  local value = attempt('GET', requestKey)
  if not value then return nil end
  if value == finalTombstone then return { isFinished = true, rank = 3 } end
  local failure = failureOf(value)
  if failure then return nil, failure end
  local request, restAt = parseHead(value)
  if not request then return nil, malformed(requestKey) end
  local plan, recordAt, charges = match(sub(value, restAt), restLayout)
  if not plan then return nil, malformed(requestKey) end
  request.plan, request.charges = planOfText(plan), charges
  request.record = sub(value, restAt + recordAt - 1, -2 - #charges)
  return request
end

-- The same for who knows the plan and that there are no budgets: only the head of an open one is read.
local function readOpenHead(requestKey, plan)
  local value = attempt('GETRANGE', requestKey, '0', headEnd)
  local failure = failureOf(value)
  if failure then return nil, failure end
  if value == '' then return nil end
  if sub(value, 1, 1) ~= openState then return readRequest(requestKey) end
  local requests, tokens = match(value, openHeadLayout)
  if not requests then return nil, malformed(requestKey) end
  return { requests = requests, tokens = tokens, plan = plan, charges = '' }
end

local function packProgress(progress)
  return format('%013d', tonumber(progress))
end

local noProgress = packProgress(0)

-- `packed` is the whole value but for the charges, as the caller makes it of a request that has not begun. Answers false,
-- and has written nothing, when something is remembered already.
local function beginOpen(requestKey, packed, charges)
  if charges ~= '' then packed = packed .. charges end
  return call('SET', requestKey, packed, 'PX', openMs, 'NX')
end

local function writeOpenAgain(requestKey, packed, request)
  local _, restAt = parseHead(packed)
  local head = openState .. '00' .. packProgress(request.progress)
    .. '\t' .. request.requests .. '\t' .. request.tokens .. '\t'
  call('SET', requestKey, head .. sub(packed, restAt) .. request.charges, 'PX', openMs)
end

local function writeTombstone(requestKey, rank, rest)
  if rank == 3 then
    -- Nothing outranks it, so nothing but its rank is needed again.
    call('SET', requestKey, finalTombstone, 'PX', tombstoneMs)
    return
  end
  local value = finishedState .. rank .. (rest.isReaped and '1' or '0') .. noProgress
    .. '\t' .. whole(rest.requests) .. '\t' .. whole(rest.tokens) .. '\t' .. textOf(rest.plan) .. '\t\t' .. rest.charges
  call('SET', requestKey, value, 'PX', tombstoneMs)
end
