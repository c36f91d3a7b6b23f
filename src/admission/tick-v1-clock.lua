-- Whole microseconds since 1970 by the server's clock: the clocks of the replicas never count.
local function readClock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end
