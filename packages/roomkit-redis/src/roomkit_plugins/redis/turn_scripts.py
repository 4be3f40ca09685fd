"""The steps of the turn queue, as the server does them. Each may run twice with the same arguments.

A turn is a hash and a list of the frames that its reader has not taken. An agent's queue is a sorted set of
the turns without a frame, each by the instant from which it may be claimed: when it was queued, or when its
lease ends. Times are the server's, in microseconds.
"""

from __future__ import annotations

from hashlib import sha1

__all__ = [
    "APPEND",
    "CLAIM",
    "DROP",
    "KEEP",
    "PUT",
    "QUARANTINE",
    "QUARANTINED",
    "READ",
    "RELEASE",
    "RENEW",
    "SCRIPTS",
]

_TIME = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function at(time) return string.format('%.0f', time) end
"""

_PUT = (
    _TIME
    + """
local turn, queue = KEYS[1], KEYS[2]
local id, agent, body, reader = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease, whole, most = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if redis.call('EXISTS', turn) == 1 then
  return 1
end
if redis.call('ZCOUNT', queue, '-inf', at(now)) >= most then
  return 0
end
redis.call('HSET', turn, 'agent', agent, 'body', body, 'reader', reader, 'token', 0, 'attempts', 0,
  'frames', 0, 'taken', 0, 'lease', 0, 'wanted', at(now + lease), 'ends', at(now + whole))
redis.call('PEXPIRE', turn, math.ceil((whole + lease) / 1000))
redis.call('ZADD', queue, at(now), id)
redis.call('PEXPIRE', queue, math.ceil((whole + lease) / 500))
redis.call('PUBLISH', queue, agent)
return 1
"""
)

_READ = (
    _TIME
    + """
local turn, frames = KEYS[1], KEYS[2]
local id, after, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('HMGET', turn, 'taken', 'frames', 'attempts', 'lease', 'server')
if not found[2] then
  return false
end
local taken = tonumber(found[1])
if taken < after then
  redis.call('LTRIM', frames, after - taken, -1)
  taken = after
end
redis.call('HSET', turn, 'taken', taken, 'wanted', at(now + tonumber(ARGV[4])))
if ARGV[5] == '1' and found[5] then
  redis.call('PUBLISH', found[5], id)
end
local held = tonumber(found[4]) > now and 1 or 0
return {taken, tonumber(found[2]), tonumber(found[3]), held, redis.call('LRANGE', frames, 0, limit - 1)}
"""
)

_KEEP = (
    _TIME
    + """
for _, turn in ipairs(KEYS) do
  if redis.call('EXISTS', turn) == 1 then
    redis.call('HSET', turn, 'wanted', at(now + tonumber(ARGV[1])))
  end
end
return 1
"""
)

_DROP = """
local turn, frames = KEYS[1], KEYS[2]
local found = redis.call('HMGET', turn, 'agent', 'server')
redis.call('DEL', turn, frames)
if found[1] then
  redis.call('ZREM', ARGV[2] .. found[1], ARGV[1])
end
if found[2] then
  redis.call('PUBLISH', found[2], ARGV[1])
end
return 1
"""

_CLAIM = (
    _TIME
    + """
local limit, most, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local server, stem = ARGV[4], ARGV[5]
local claims = {}
local function claim(queue, id)
  local turn = stem .. id
  local found = redis.call('HMGET', turn, 'wanted', 'ends', 'attempts', 'frames', 'body')
  if not found[5] or tonumber(found[1]) <= now or tonumber(found[2]) <= now
      or tonumber(found[3]) >= most or found[4] ~= '0' then
    redis.call('ZREM', queue, id)
    return
  end
  redis.call('HSET', turn, 'lease', at(now + lease), 'server', server)
  redis.call('HINCRBY', turn, 'attempts', 1)
  redis.call('ZADD', queue, at(now + lease), id)
  claims[#claims + 1] = {id, redis.call('HINCRBY', turn, 'token', 1), found[5]}
end
local free = {}
for _, queue in ipairs(KEYS) do
  local found = redis.call('ZRANGEBYSCORE', queue, '-inf', at(now), 'WITHSCORES', 'LIMIT', 0, limit + 100)
  for place = 1, #found, 2 do
    free[#free + 1] = {queue, found[place], tonumber(found[place + 1])}
  end
end
table.sort(free, function(one, other) return one[3] < other[3] end)
for _, each in ipairs(free) do
  if #claims >= limit then
    break
  end
  claim(each[1], each[2])
end
return claims
"""
)

_STANDING = (
    _TIME
    + """
local turn, frames = KEYS[1], KEYS[2]
local id, token, lease, queues = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local found = redis.call('HMGET', turn,
  'token', 'lease', 'wanted', 'ends', 'taken', 'frames', 'agent', 'reader')
if not found[1] or tonumber(found[3]) <= now or tonumber(found[4]) <= now then
  return {1, 0}
end
if found[1] ~= token or tonumber(found[2]) <= now then
  return {2, 0}
end
"""
)

_RENEW = (
    _STANDING
    + """
redis.call('HSET', turn, 'lease', at(now + lease))
if found[6] == '0' then
  redis.call('ZADD', queues .. found[7], at(now + lease), id)
end
return {0, tonumber(found[5])}
"""
)

_APPEND = (
    _STANDING
    + """
local number = tonumber(ARGV[5])
local count = tonumber(found[6])
if count ~= number - 1 and count ~= number then
  return {2, 0}
end
if count == number - 1 then
  redis.call('RPUSH', frames, ARGV[6])
  redis.call('PEXPIRE', frames, redis.call('PTTL', turn))
  redis.call('ZREM', queues .. found[7], id)
end
redis.call('HSET', turn, 'frames', number, 'lease', at(now + lease))
redis.call('PUBLISH', found[8], id)
return {0, tonumber(found[5])}
"""
)

_RELEASE = (
    _TIME
    + """
local turn = KEYS[1]
local found = redis.call('HMGET', turn, 'token', 'lease', 'frames', 'agent')
if found[1] ~= ARGV[2] or tonumber(found[2]) <= now or found[3] ~= '0' then
  return 0
end
local queue = ARGV[3] .. found[4]
redis.call('HSET', turn, 'lease', 0)
redis.call('HINCRBY', turn, 'attempts', -1)
redis.call('ZADD', queue, at(now), ARGV[1])
redis.call('PUBLISH', queue, found[4])
return 1
"""
)

_QUARANTINE = (
    _TIME
    + """
redis.call('LPUSH', KEYS[1], at(now) .. ' ' .. ARGV[1])
redis.call('LTRIM', KEYS[1], 0, 99)
return 1
"""
)

_QUARANTINED = """
return redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
"""

SCRIPTS = (_PUT, _READ, _KEEP, _DROP, _CLAIM, _RENEW, _APPEND, _RELEASE, _QUARANTINE, _QUARANTINED)
"""All of them, to be loaded on a new connection."""


def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


PUT, READ, KEEP, DROP, CLAIM, RENEW, APPEND, RELEASE, QUARANTINE, QUARANTINED = map(_digest, SCRIPTS)
