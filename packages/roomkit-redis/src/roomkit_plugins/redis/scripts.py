"""What the server does in one step. Each script may run twice with the same arguments.

A room has four keys: `lock` holds the owner of the lease; `fence` the last token; `order` the owners
that wait, by the time they came; `seen` the same, by the time they last asked. An owner is
`worker:number`, and `worker:number:k` where the lock may be kept after it was left: then its worker listens
for requests, and one that cannot be reached twice in a second is dead. A worker listens to one channel of its
own for all that it waits for and keeps.
"""

from __future__ import annotations

from hashlib import sha1

__all__ = ["ACQUIRE", "RELEASE", "RENEW", "SCRIPTS"]

_TOKEN = """
local function token_after(last)
  local time = redis.call('TIME')
  return math.max((tonumber(last or 0) or 0) + 1, time[1] * 1000000 + time[2])
end
local function keep_fence(key, token, milliseconds)
  redis.call('SET', key, string.format('%.0f', token), 'PX', milliseconds)
end
"""

_ACQUIRE = (
    _TOKEN
    + """
local lock, fence, order, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local owner, lease, patience, memory = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local channel, silent = ARGV[5], ARGV[6]
local holder = redis.call('GET', lock)
local last = redis.call('GET', fence)
if holder == owner and last then
  redis.call('PEXPIRE', lock, lease)
  return {tonumber(last), 0, ''}
end
local first = owner
local waiting = redis.call('EXISTS', order) == 1
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if waiting then
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - patience)) do
    redis.call('ZREM', order, gone)
    redis.call('ZREM', seen, gone)
  end
  first = redis.call('ZRANGE', order, 0, 0)[1] or owner
end
local unheard = ''
if holder and holder ~= owner and string.sub(holder, -2) == ':k'
    and redis.call('PUBLISH', channel .. string.match(holder, '^%x+'), holder) == 0 then
  unheard = holder
  if holder == silent and first == owner then
    holder = false
  end
end
if holder == owner or (not holder and first == owner) then
  if waiting then
    redis.call('ZREM', order, owner)
    redis.call('ZREM', seen, owner)
  end
  local token = token_after(last)
  redis.call('SET', lock, owner, 'PX', lease)
  keep_fence(fence, token, memory)
  return {token, 0, ''}
end
redis.call('ZADD', order, 'NX', time[1] * 1000000 + time[2], owner)
redis.call('ZADD', seen, now, owner)
redis.call('PEXPIRE', order, 2 * patience)
redis.call('PEXPIRE', seen, 2 * patience)
return {0, holder and redis.call('PTTL', lock) or patience, unheard}
"""
)

_RENEW = (
    _TOKEN
    + """
local lock, fence, order = KEYS[1], KEYS[2], KEYS[3]
local owner, lease, token, memory = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local holder = redis.call('GET', lock)
if holder == owner then
  redis.call('PEXPIRE', lock, lease)
  return 1 + redis.call('EXISTS', order)
end
if holder or tonumber(redis.call('GET', fence) or 0) > token then
  return 0
end
redis.call('SET', lock, owner, 'PX', lease)
keep_fence(fence, token, memory)
return 1
"""
)

_RELEASE = """
local lock, order, seen = KEYS[1], KEYS[2], KEYS[3]
local owner, channel = ARGV[1], ARGV[2]
local holder = redis.call('GET', lock)
if holder == owner then
  redis.call('DEL', lock)
else
  redis.call('ZREM', order, owner)
  redis.call('ZREM', seen, owner)
  if holder then
    return 0
  end
end
local first = redis.call('ZRANGE', order, 0, 0)[1]
while first and redis.call('PUBLISH', channel .. string.match(first, '^%x+'), first) == 0 do
  redis.call('ZREM', order, first)
  redis.call('ZREM', seen, first)
  first = redis.call('ZRANGE', order, 0, 0)[1]
end
return holder == owner and 1 or 0
"""

SCRIPTS = (_ACQUIRE, _RENEW, _RELEASE)
"""All of them, to be loaded on a new connection."""


def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


ACQUIRE = _digest(_ACQUIRE)
"""KEYS lock, fence, order, seen; ARGV owner, lease ms, patience ms, memory ms, channel prefix, silent holder.

Answers `{token, 0, ''}`, or `{0, milliseconds, unheard}` after which it is worth asking again: the owner
waits in `order` then, and a waiter that has not asked for `patience` has lost its place there. A holder that
may keep the lock is asked for it; `unheard` is one that does not listen. If it is unheard again a second
later, when the waiter names it as the silent holder, it is dead, and the lock is the waiter's.
"""
RENEW = _digest(_RENEW)
"""KEYS lock, fence, order; ARGV owner, lease ms, token, memory ms. Answers whether the lease goes on.

It answers 2 when others wait. The lease goes on, too, when the lock is free and was not held since: after the
server lost its data.
"""
RELEASE = _digest(_RELEASE)
"""KEYS lock, order, seen; ARGV owner, channel prefix. Answers whether the owner held the lock.

It stops to hold and to wait, and the first waiter is notified; one that does not listen is skipped.
"""
