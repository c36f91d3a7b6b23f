-- Runs the operations of the call, one after the other.

local operations = {
  S = { run = settle, arity = 9 },
  M = { run = markDispatched, arity = 1 },
  H = { run = renew, arity = 3 },
  E = { run = reassert, arity = 9 },
  A = { run = admit, arity = 8 },
  L = { run = listExpired, arity = 1 },
  R = { run = reap, arity = 6 },
  C = { run = check, arity = 1 },
  V = { run = raise, arity = 4 },
  B = { run = seed, arity = 4 },
  J = { run = adjust, arity = 4 },
  I = { run = inspect, arity = 2 },
}

-- Everything writes to these keys, so their types are part of phase one of every operation.
local shardFailure = failureOf(attempt('ZCARD', openKey))
if streamCap > 0 and not shardFailure then
  local length = attempt('XLEN', streamKey)
  shardFailure = failureOf(length)
  if not shardFailure and gate == '' and length >= streamCap then gate = 'JOURNAL_FULL' end
end

-- Set once. Another one tells the replicas that the shard has lost its data.
local incarnation = attempt('GET', base .. 'rid')
if not incarnation then
  incarnation = ARGV[7]
  call('SET', base .. 'rid', incarnation)
end

local replies = { failureOf(incarnation) and '' or incarnation }
local position = scopesBegin + scopeCount + 1
while position <= #ARGV do
  local operation = operations[ARGV[position]]
  if shardFailure then
    replies[#replies + 1] = shardFailure
  else
    local isDone, reply = pcall(operation.run, unpack(ARGV, position + 1, position + operation.arity))
    replies[#replies + 1] = isDone and reply or { 'ERR', type(reply) == 'table' and reply.err or tostring(reply) }
  end
  position = position + operation.arity + 1
end

writeSets()
for _, key in ipairs(changed) do
  local cell = cells[key]
  local value = cell.period and format('%d:%d:%d', cell.period, cell.spent, cell.held) or packBuckets(cell)
  if cell.hasGuest then
    call('SET', key, value, 'PX', max(cell.memoryMs, call('PTTL', key)))
  elseif cell.memoryMs then
    call('SET', key, value, 'PX', cell.memoryMs)
  else
    call('SET', key, value, 'KEEPTTL')
  end
end
return replies
